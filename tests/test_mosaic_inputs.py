"""Which files and stores belong to a run, and how they are laid out."""

import shutil

import numpy as np
import pytest
from astropy.io import fits

from survey_classifier.errors import ConfigError, MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.arrivals import require_steady_grid
from survey_classifier.mosaic.exposure import MosaicInput
from survey_classifier.mosaic.ingest import ingest_mosaics
from survey_classifier.mosaic.inputs import matching_files, mosaic_stores
from survey_classifier.mosaic.mosaic_settings import MosaicSettings
from survey_classifier.mosaic.planning import plan_ingests
from survey_classifier.run.config import read_run
from tests.array_exposure import plane_wcs
from tests.test_mosaic_place import bucket, server  # noqa: F401 - fixtures

SIDE_PX = 40


def write_image(path, wcs=None, side_px=SIDE_PX):
    header = (plane_wcs() if wcs is None else wcs).to_header()
    header["MAGZERO"] = 31.4
    path.parent.mkdir(parents=True, exist_ok=True)
    flux = np.random.default_rng(1).normal(0, 1, (side_px, side_px)).astype(np.float32)
    fits.PrimaryHDU(flux, header).writeto(path)


def found(folder, path):
    """Return the names below a folder that a pattern fits, with the texts of its words."""
    return {
        str(file.relative_to(folder)): dict(words)
        for file, words in matching_files(MosaicInput(path=path, band="g"), folder)
    }


# Patterns of files


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_two_stars_stand_for_any_folders_and_for_none(tmp_path):
    touch(tmp_path, "d/a.fits", "d/s/b.fits", "d/s/t/c.fits")
    assert found(tmp_path, "d/**/*.fits") == {"d/a.fits": {}, "d/s/b.fits": {}, "d/s/t/c.fits": {}}
    assert found(tmp_path, "d/**/{x}.fits") == {
        "d/a.fits": {"x": "a"},
        "d/s/b.fits": {"x": "b"},
        "d/s/t/c.fits": {"x": "c"},
    }
    assert found(tmp_path, "d/**/t/**/{x}.fits") == {"d/s/t/c.fits": {"x": "c"}}
    assert found(tmp_path, "**/s/{x}.fits") == {"d/s/b.fits": {"x": "b"}}


def test_words_are_at_least_a_letter_and_stand_for_one_text(tmp_path):
    touch(tmp_path, "a-.fits", "a-1.fits", "1/1.fits", "1/2.fits", "s/t/3.fits")
    assert found(tmp_path, "a-{x}.fits") == {"a-1.fits": {"x": "1"}}
    assert found(tmp_path, "{x}/{x}.fits") == {"1/1.fits": {"x": "1"}}
    assert set(found(tmp_path, "{x}{y}.fits")) == {"a-.fits", "a-1.fits"}


def test_a_file_whose_words_cannot_be_told_is_not_passed_over(tmp_path):
    touch(tmp_path, "?.fits")
    with pytest.raises(
        MosaicError, match=r"cannot tell .*'.*\[{x}\].fits' stand for in .*/\?.fits"
    ):
        found(tmp_path, "[{x}].fits")


# Stores


def tiles_of(folder, *tiles):
    for tile in tiles:
        write_image(folder / "d" / f"{tile}-g.fits")
    entry = MosaicInput(path="d/{t}-g.fits", band="g")
    return MosaicSettings(store="[out]/{t}.zarr", inputs=(entry,))


def test_stores_stay_in_the_run_when_their_images_are_gone(tmp_path):
    settings = tiles_of(tmp_path, *"abc")
    (tmp_path / "[out]").mkdir()
    made = [mosaic.digest for mosaic in ingest_mosaics(settings, tmp_path)]
    (tmp_path / "[out]" / "notes.zarr").mkdir()  # no store
    places = [str(tmp_path / "[out]" / f"{tile}.zarr") for tile in "abc"]
    (tmp_path / "d" / "b-g.fits").unlink()
    for left in ("ac", ""):
        assert mosaic_stores(settings, tmp_path) == places, left
        assert [mosaic.digest for mosaic in ingest_mosaics(settings, tmp_path)] == made, left
        shutil.rmtree(tmp_path / "d", ignore_errors=True)
    shutil.rmtree(tmp_path / "[out]")
    with pytest.raises(MosaicError, match="no file fits the inputs"):
        mosaic_stores(settings, tmp_path)
    tiles_of(tmp_path, "d")
    assert mosaic_stores(settings, tmp_path) == [str(tmp_path / "[out]" / "d.zarr")]


def test_stores_in_a_bucket_are_found_by_a_pattern(tmp_path, bucket):  # noqa: F811
    settings = tiles_of(tmp_path, *"ab")
    settings = settings.model_copy(update={"store": f"{bucket}/v1/{{t}}.zarr"})
    ingest_mosaics(settings, tmp_path)
    places = [f"{bucket}/v1/{tile}.zarr" for tile in "ab"]
    for pattern in ("v1/*.zarr", "v?/[ab].zarr", "*/*"):
        assert mosaic_stores(MosaicSettings(stores=(f"{bucket}/{pattern}",)), tmp_path) == places
    shutil.rmtree(tmp_path / "d")
    assert mosaic_stores(settings, tmp_path) == places
    with pytest.raises(MosaicError, match=r"no store fits .*/v2/\*.zarr"):
        mosaic_stores(MosaicSettings(stores=(f"{bucket}/v2/*.zarr",)), tmp_path)


@pytest.mark.parametrize("url", ["https://host/*.zarr", "s3://b*/m.zarr", "s3://b/**/m.zarr"])
def test_patterns_of_urls_that_cannot_be_looked_up_are_refused(tmp_path, url):
    with pytest.raises(MosaicError, match="name each store"):
        mosaic_stores(MosaicSettings(stores=(url,)), tmp_path)


def test_the_question_of_a_web_address_is_no_pattern(tmp_path):
    url = "https://host/m.zarr?version=1"
    assert mosaic_stores(MosaicSettings(stores=(url,)), tmp_path) == [url]


# Grids that do not depend on what comes first


@pytest.mark.parametrize(
    ("store", "path", "steady"),
    [
        ("m.zarr", "EUC*VIS*.fits", False),
        ("m.zarr", "EUC_*VIS_TILE*-*.fits", False),
        ("m.zarr", "EUC_*VIS_TILE{tile}-*.fits", False),
        ("m.zarr", "EUC_*VIS_TILE102018665-*.fits", True),
        ("m.zarr", "MER/102018665/VIS/EUC_*.fits", True),
        ("{tile}.zarr", "EUC_*VIS_TILE{tile}-*.fits", True),
        ("{tile}.zarr", "EUC_*VIS_TILE{tile}*.fits", False),
        ("{tile}.zarr", "{tile}/VIS/EUC_*.fits", True),
        ("{kind}.zarr", "EUC_MER_{kind}-VIS_TILE*-*.fits", False),
    ],
)
def test_a_store_of_tiles_that_are_made_again_has_one_of_them(store, path, steady):
    entry = MosaicInput(reader="euclid-mer", path=path, band="VIS")
    settings = MosaicSettings(store=store, inputs=(entry,))
    if steady:
        require_steady_grid(settings)
    else:
        with pytest.raises(ConfigError, match="may fit several tiles a store"):
            require_steady_grid(settings)


# Layout


def own_grid(folder, **wcs_of):
    """Lay out images of some bands on a large grid of one's own."""
    for band, wcs in wcs_of.items():
        write_image(folder / f"{band}.fits", wcs)
    settings = MosaicSettings(
        store="m.zarr", center_deg=(49.95, 41.51), size_px=(20000, 20000), scale_arcsec=0.2,
        inputs=tuple(MosaicInput(path=f"{band}.fits", band=band) for band in wcs_of),
    )  # fmt: skip
    (plan,) = plan_ingests(settings, folder)
    return plan


@pytest.mark.parametrize("angle_deg", [0.0, 30.0])
def test_small_images_on_a_large_grid_are_found(tmp_path, angle_deg):
    plan = own_grid(tmp_path, g=plane_wcs(0.17, (33.0, 7.0)),
                    r=plane_wcs(0.17, (30.0, 10.0), angle_deg))  # fmt: skip
    whole = Box(0, 20000, 0, 20000)
    assert all(image.box.intersection(whole) == image.box for image in plan.images)


def test_images_off_a_grid_and_bands_apart_are_refused(tmp_path):
    with pytest.raises(MosaicError, match="images of band r lie off the mosaic"):
        own_grid(tmp_path / "off", g=plane_wcs(), r=plane_wcs(0.2, (10_100.0, 1.0)))
    with pytest.raises(MosaicError, match=r"bands g and r of .* share no part"):
        own_grid(tmp_path / "apart", g=plane_wcs(0.17), r=plane_wcs(0.17, (1.0, 60.0)))


def test_a_mosaic_much_smaller_than_its_images_is_on_them(tmp_path):
    for band in "gr":
        write_image(tmp_path / f"{band}.fits", plane_wcs(0.2, (800.0, 777.0)), 1500)
    settings = MosaicSettings(
        store="m.zarr", center_deg=(49.95, 41.51), size_px=(20, 20), scale_arcsec=0.2,
        inputs=tuple(MosaicInput(path=f"{band}.fits", band=band) for band in "gr"),
    )  # fmt: skip
    (plan,) = plan_ingests(settings, tmp_path)
    assert plan.coverage == {"g": 1.0, "r": 1.0}


def test_the_first_file_in_order_that_is_bad_is_named(tmp_path):
    settings = tiles_of(tmp_path, *"abcdefgh")
    settings = settings.model_copy(
        update={"store": "m.zarr", "inputs": (MosaicInput(path="d/*.fits", band="g"),)}
    )
    for tile in "cf":
        (tmp_path / "d" / f"{tile}-g.fits").write_bytes(b"no image")
    for _ in range(5):
        with pytest.raises(MosaicError, match=r"c-g\.fits"):
            plan_ingests(settings, tmp_path)


# What a run file may ask for


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            "center_deg = 49.95",
            r"mosaic.center_deg: right asc.* as center_deg = \[49.95, 41.51\], got",
        ),
        ("center_deg = [49.95]", r"got \[49.95\]$"),
        ('center_deg = "49.95 41.51"', "got '49.95 41.51'$"),
        ("center_deg = [true, 1]", r"got \[True, 1\]$"),
        ("size_px = 100", r"mosaic.size_px: width and height .* 1 to 1048576.* got 100$"),
        ("size_px = [9.5, 9]", r"got \[9.5, 9\]$"),
        ("size_px = [0, 9]", r"got \[0, 9\]$"),
        ("size_px = [9, 1000000000]", r"got \[9, 1000000000\]$"),
        ("scale_arcsec = [0.2]", r"positive number of arcsec, or 'native', got \[0.2\]$"),
        ("scale_arcsec = true", "got True$"),
        ('scale_arcsec = "nativ"', "got 'nativ'$"),
        ("scale_arcsec = -0.2", "got -0.2$"),
        ('bands = "gri"', r"a list of names, such as bands = \[\"g\", \"r\"\], got 'gri'$"),
        (
            "[[mosaic.inputs]]\npath = 'g.fits'\nband = 'g/r'",
            r"'g/r' is no name of a band; use lett",
        ),
        ("[[mosaic.inputs]]\npath = 'g.fits'\nband = ''", r"'' is no name of a band"),
        ("[[mosaic.inputs]]\npath = 'g.fits'\nband = 'g\\n'", r"is no name of a band"),
        (
            "[[mosaic.inputs]]\npath = 'g.fits'\nband = 'g'\nmask_hdu = 1.5",
            r"mask_hdu: the name or number of an HDU, such as 'SCI' or 1, got 1.5$",
        ),
        (
            "[[mosaic.inputs]]\npath = 'g.fits'\nband = 'g'\nhdu = true",
            r"hdu: the name .* got True$",
        ),
    ],
)
def test_what_no_key_may_be_is_said_in_plain_words(tmp_path, keys, message):
    path = tmp_path / "run.toml"
    head = "name = 'x'\nout = 'o'\n[model]\ncheckpoint = 'c'\n[sources]\npath = 's'\n"
    path.write_text(head + "[mosaic]\nstore = 'm.zarr'\n" + keys)
    with pytest.raises(ConfigError, match=message) as caught:
        read_run(path)
    assert "\n" not in str(caught.value)


def test_a_grid_of_a_scale_that_nobody_means_is_refused(tmp_path):
    write_image(tmp_path / "g.fits")
    entry = MosaicInput(path="g.fits", band="g")
    for scale, message in [
        (1e-300, r"= 1e-300 is 2e\+299 times finer than the finest image \(g.fits, 0.2 arcsec\)"),
        (1e-6, r"= 1e-06 is 2e\+05 times finer than the finest image \(g.fits, 0.2 arcsec\)"),
        (0.0199, "= 0.0199 is 10.05 times finer"),
        (1e6, "the mosaic of g.fits .* of 1e.06 arcsec"),
    ]:
        settings = MosaicSettings(store="m.zarr", scale_arcsec=scale, inputs=(entry,))
        with pytest.raises(MosaicError, match=message) as caught:
            plan_ingests(settings, tmp_path)
        assert "mend" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_coarse_image_may_be_resampled_to_a_fine_one(tmp_path):
    """What counts is the finest image: one of them may be far coarser than the grid."""
    write_image(tmp_path / "g.fits")
    write_image(tmp_path / "i.fits", plane_wcs(2.5))
    entries = [MosaicInput(path=f"{band}.fits", band=band) for band in "gi"]
    for scale, inputs in ((0.02, entries[:1]), (0.2, entries), ("native", entries)):
        settings = MosaicSettings(store="m.zarr", scale_arcsec=scale, inputs=tuple(inputs))
        (plan,) = plan_ingests(settings, tmp_path)
        assert plan.scale_arcsec == pytest.approx(0.2 if scale == "native" else scale)


def test_a_grid_of_more_pixels_than_anyone_means_is_refused(tmp_path):
    write_image(tmp_path / "g.fits")
    entry = MosaicInput(path="g.fits", band="g")
    own = {"center_deg": (49.95, 41.51), "scale_arcsec": 0.1, "store": "m.zarr"}
    settings = MosaicSettings(size_px=(2**20, 2**20), inputs=(entry,), **own)
    message = r"1048576 x 1048576 px of 0.1 arcsec.*images have 0.2 arcsec"
    with pytest.raises(MosaicError, match=message):
        plan_ingests(settings, tmp_path)


def test_a_folder_with_the_name_of_an_image(tmp_path):
    (tmp_path / "g.fits").mkdir()
    settings = MosaicSettings(store="m.zarr", inputs=(MosaicInput(path="*.fits", band="g"),))
    with pytest.raises(
        MosaicError, match=r"g.fits is a folder, not an image; name the files in it"
    ):
        plan_ingests(settings, tmp_path)


def test_a_seeing_wider_than_an_image_is_not_matched(tmp_path):
    write_image(tmp_path / "g.fits")
    write_image(tmp_path / "r.fits")
    g, r = (
        MosaicInput(path=f"{band}.fits", band=band, psf_fwhm_arcsec=fwhm)
        for band, fwhm in (("g", 0.7), ("r", 60.0))
    )
    settings = MosaicSettings(store="m.zarr", match_psf=True, inputs=(g, r))
    message = r"match_psf would blur .*g.fits by 300 px.*r.fits is 60 arcsec; mend its psf_fwhm_arc"
    with pytest.raises(MosaicError, match=message):
        plan_ingests(settings, tmp_path)
    r = r.model_copy(update={"psf_fwhm_arcsec": 1.0})
    assert plan_ingests(settings.model_copy(update={"inputs": (g, r)}), tmp_path)
