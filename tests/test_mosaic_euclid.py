"""The Euclid readers: what stands for no data, which files go together, and real stamps."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.exposure import MosaicInput
from survey_classifier.mosaic.pixels import UNUSABLE, MaskBit
from survey_classifier.mosaic.readers import READERS, SELECT
from survey_classifier.mosaic.readers.euclid import mask_of_flags
from tests.test_stamps import tan_wcs

SHAPE = (30, 40)
WHOLE = Box(0, 30, 0, 40)
TILE = "TILE102018665"
OLD, NEW, NEWER = (f"20241{month}05T125727.727353" for month in (0, 1, 2))
NJY_PER_ADU = 10 ** (0.4 * (31.4 - 24.6))
NJY_PER_ERO_COUNT = 10 ** (0.4 * (31.4 - 30.132))


def opened(reader, path, band="VIS", **keys):
    settings = MosaicInput(reader=reader, path=path.name, band=band, **keys)
    return READERS[reader](settings, path)


def write_fits(path, image, **cards):
    header = tan_wcs(scale_arcsec=0.1).to_header()
    header.update(cards)
    fits.PrimaryHDU(image, header).writeto(path)
    return path


def noise_image(seed=1):
    return np.random.default_rng(seed).normal(0, 1, SHAPE).astype(np.float32)


def mer_name(kind, band="VIS", tile=TILE, digest="5ED2D5", time=NEW):
    product = f"BGSUB-MOSAIC-{band}" if kind == "BGSUB" else f"MOSAIC-{band}-{kind}"
    return f"EUC_MER_{product}_{tile}-{digest}_{time}Z_00.00.fits"


def write_mer(folder, kind="BGSUB", plane=None, **name):
    """Write one of the three files of a tile."""
    plane = noise_image() if plane is None else plane
    return write_fits(folder / mer_name(kind, **name), plane, MAGZERO=24.6)


@pytest.mark.parametrize(
    ("reader", "name", "card", "by"),
    [
        ("euclid-mer", mer_name("BGSUB", band="NIR-Y"), "NIR-Y", "name"),
        ("euclid-mer", mer_name("BGSUB", band="NIR-Y"), None, "name"),
        ("euclid-mer", mer_name("BGSUB", band="WISHES-Z"), "HSC_z", "name"),
        ("euclid-mer", mer_name("BGSUB"), "NIR_H", "header"),
        ("euclid-ero", "Euclid-NISP-Y-ERO-Perseus-Flattened.v9-004.fits", None, "name"),
        ("euclid-ero", "Euclid-VIS-ERO-Perseus-Flattened.v9-004.fits", "NIR_H", "header"),
        ("euclid-ero", "mine.fits", "NIR_J", "header"),
    ],
)
def test_an_image_of_another_band_is_refused(tmp_path, reader, name, card, by):
    """Whether its name or its header says so; by its own band, and one of your own, it is read."""
    cards = {"MAGZERO": 24.6, "ZP_STACK": 30.0} | ({} if card is None else {"FILTER": card})
    path = write_fits(tmp_path / name, noise_image(), **cards)
    with pytest.raises(MosaicError, match=f"of the filter .* by its {by}, not of band 'VIS'"):
        opened(reader, path)
    assert opened(reader, path, "mine").band.name == "mine"
    if by == "name":
        own = {"NIR-Y": "Y", "NISP-Y": "NIR-Y", "WISHES-Z": "z"}
        (band,) = (band for stated, band in own.items() if f"-{stated}" in name)
        assert opened(reader, path, band).band.name == band


# Early Release Observations


def test_zeros_of_an_ero_image_are_no_data(tmp_path):
    image = noise_image()
    image[:5], image[20, 7], image[21, 8] = 0, 0, np.nan
    path = write_fits(tmp_path / "Euclid-VIS-ERO-Perseus-Flattened.fits", image, ZP_STACK=30.132)
    exposure = opened("euclid-ero", path)
    window = exposure.read(WHOLE)
    empty = (image == 0) | np.isnan(image)
    np.testing.assert_array_equal(np.isnan(window.flux), empty)
    np.testing.assert_array_equal(window.mask, np.where(empty, MaskBit.NO_DATA, 0))
    np.testing.assert_allclose(window.flux[~empty], image[~empty] * NJY_PER_ERO_COUNT, rtol=1e-6)
    assert exposure.band.zero_point == 30.132
    assert (exposure.core, exposure.territory, exposure.survey_grid) == (None, None, None)


def test_an_ero_image_has_its_own_zero_point_keyword(tmp_path):
    both = write_fits(tmp_path / "both.fits", noise_image(), ZP_STACK=30.132, MAGZERO=24.6)
    assert opened("euclid-ero", both).band.zero_point == 30.132
    assert opened("euclid-ero", both, zero_point_keyword="MAGZERO").band.zero_point == 24.6
    none = write_fits(tmp_path / "none.fits", noise_image(), MAGZERO=24.6)
    with pytest.raises(MosaicError, match="ZP_STACK"):
        opened("euclid-ero", none)
    assert opened("euclid-ero", none, zero_point=30.0).band.zero_point == 30.0


def test_an_ero_image_is_not_the_same_as_its_file_read_plainly(tmp_path):
    path = write_fits(tmp_path / "e.fits", noise_image(), ZP_STACK=30.132)
    assert opened("euclid-ero", path).identity != opened("fits", path).identity


# Tiles


def test_a_tile_has_the_noise_and_flags_of_the_files_beside_it(tmp_path):
    image, rms = noise_image(), np.full(SHAPE, 0.004, np.float32)
    image[2, 3] = 0  # where there is noise, 0 is a flux as any other
    image[3, 4], rms[3, 4], rms[5, 6], rms[7, 8] = 0, 1e16, np.nan, 0
    flags = np.zeros(SHAPE, np.int32)
    flags[10, 11], flags[12, 13], flags[14, 15] = 1 << 22, 1 << 3, 1 << 19 | 1 << 24
    path = write_mer(tmp_path, plane=image)
    rms_path, flag_path = write_mer(tmp_path, "RMS", rms), write_mer(tmp_path, "FLAG", flags)
    exposure = opened("euclid-mer", path)
    window = exposure.read(WHOLE)

    empty = np.zeros(SHAPE, bool)
    empty[3, 4] = empty[10, 11] = True
    np.testing.assert_array_equal(np.isnan(window.flux), empty)
    np.testing.assert_array_equal((window.mask & MaskBit.NO_DATA) != 0, empty)
    np.testing.assert_allclose(window.flux[~empty], image[~empty] * NJY_PER_ADU, rtol=1e-6)
    unknown = empty.copy()
    unknown[5, 6] = unknown[7, 8] = True
    np.testing.assert_array_equal(np.isnan(window.variance), unknown)
    np.testing.assert_allclose(window.variance[~unknown], (0.004 * NJY_PER_ADU) ** 2, rtol=1e-5)
    assert window.mask[12, 13] == MaskBit.SATURATED
    assert window.mask[14, 15] == MaskBit.BRIGHT_STAR
    assert np.count_nonzero(window.mask) == 4
    assert window.variance.dtype == np.float32

    assert exposure.band.has_variance
    assert exposure.slot == TILE
    assert exposure.files == (path, rms_path, flag_path)
    assert pickle.loads(pickle.dumps(exposure)).read(WHOLE).flux.shape == SHAPE  # noqa: S301


@pytest.mark.parametrize("box", [Box(0, 1, 0, 1), Box(7, 21, 3, 40), Box(29, 30, 39, 40)])
def test_a_window_of_a_tile_is_a_cut_of_the_whole(tmp_path, box):
    rng = np.random.default_rng(5)
    path = write_mer(tmp_path)
    write_mer(tmp_path, "RMS", rng.uniform(0.1, 1, SHAPE).astype(np.float32))
    write_mer(tmp_path, "FLAG", rng.integers(0, 1 << 25, SHAPE).astype(np.int32))
    exposure = opened("euclid-mer", path)
    whole, part = exposure.read(WHOLE), exposure.read(box)
    for name in ("flux", "mask", "variance"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[box.slices])


@pytest.mark.parametrize("kinds", [(), ("RMS",), ("FLAG",)])
def test_a_tile_may_lack_noise_or_flags(tmp_path, kinds):
    path = write_mer(tmp_path)
    for kind in kinds:
        write_mer(tmp_path, kind, np.ones(SHAPE, np.float32 if kind == "RMS" else np.int32) * 4)
    exposure = opened("euclid-mer", path)
    window = exposure.read(WHOLE)
    assert exposure.band.has_variance == ("RMS" in kinds) == (window.variance is not None)
    assert (window.mask == (MaskBit.BAD if "FLAG" in kinds else 0)).all()
    assert len(exposure.files) == 1 + len(kinds)


def test_without_noise_zeros_of_a_tile_are_no_data(tmp_path):
    image = noise_image()
    image[3:5, 4:9] = 0
    window = opened("euclid-mer", write_mer(tmp_path, plane=image)).read(WHOLE)
    np.testing.assert_array_equal(np.isnan(window.flux), image == 0)
    np.testing.assert_array_equal(window.mask, np.where(image == 0, MaskBit.NO_DATA, 0))


def test_noise_that_comes_later_changes_the_identity(tmp_path):
    path = write_mer(tmp_path)
    seen = [opened("euclid-mer", path).identity]
    for kind, dtype in (("RMS", np.float32), ("FLAG", np.int32)):
        file = write_mer(tmp_path, kind, np.ones(SHAPE, dtype))
        seen.append(opened("euclid-mer", path).identity)
        file.unlink()
        write_mer(tmp_path, kind, np.full(SHAPE, 2, dtype))
        seen.append(opened("euclid-mer", path).identity)
    assert len(set(seen)) == 5
    assert opened("euclid-mer", path).identity == seen[-1]


def test_the_newest_noise_of_the_same_tile_and_band_is_taken(tmp_path):
    path = write_mer(tmp_path, band="NIR-Y")
    for time, sigma in ((OLD, 1), (NEWER, 3), (NEW, 2)):
        plane = np.full(SHAPE, sigma, np.float32)
        write_mer(tmp_path, "RMS", plane, band="NIR-Y", time=time, digest=f"A{sigma}")
    other = np.full(SHAPE, 9, np.float32)
    write_mer(tmp_path, "RMS", other, band="NIR-J", time=NEWER)
    write_mer(tmp_path, "RMS", other, band="NIR-Y", tile="TILE102018666", time=NEWER)
    window = opened("euclid-mer", path, "NIR-Y").read(WHOLE)
    np.testing.assert_allclose(window.variance, (3 * NJY_PER_ADU) ** 2, rtol=1e-6)


def test_a_folder_that_rests_is_listed_once(tmp_path, monkeypatch):
    folder, listed = tmp_path / "mer", []
    folder.mkdir()
    paths = [write_mer(folder, tile=f"TILE10201866{n}") for n in range(4)]
    write_mer(folder, "RMS", np.ones(SHAPE, np.float32), tile="TILE102018663")
    glob = Path.glob
    monkeypatch.setattr(Path, "glob", lambda self, text: listed.append(self) or glob(self, text))

    def with_noise():
        return [opened("euclid-mer", path).band.has_variance for path in paths]

    assert with_noise() == [False, False, False, True]
    assert len(listed) == 4, "one that has just changed may change again unseen"
    os.utime(folder, (1e9, 1e9))
    assert with_noise() == with_noise() == [False, False, False, True]
    assert len(listed) == 5
    write_mer(folder, "RMS", np.ones(SHAPE, np.float32), tile="TILE102018660")
    assert with_noise() == [True, False, False, True]


def test_two_noise_files_of_one_time_are_refused(tmp_path):
    path = write_mer(tmp_path)
    write_mer(tmp_path, "RMS", np.ones(SHAPE, np.float32), time=OLD)
    newer = [
        write_mer(tmp_path, "RMS", np.ones(SHAPE, np.float32), digest=digest)
        for digest in ("AAAAAA", "BBBBBB")
    ]
    with pytest.raises(MosaicError, match=r"two RMS files.*AAAAAA.*BBBBBB.*take one away"):
        opened("euclid-mer", path)
    newer[0].unlink()
    assert opened("euclid-mer", path).rms == newer[1]
    # Two that are superseded do no harm.
    last = write_mer(tmp_path, "RMS", np.ones(SHAPE, np.float32), time=NEWER)
    newer[1].rename(newer[0])
    write_mer(tmp_path, "RMS", np.ones(SHAPE, np.float32), digest="BBBBBB")
    assert opened("euclid-mer", path).rms == last


def test_noise_of_a_band_whose_name_begins_alike_is_not_taken(tmp_path):
    path = write_mer(tmp_path, band="NIR")
    write_mer(tmp_path, "RMS", np.ones(SHAPE, np.float32), band="NIR-Y")
    assert not opened("euclid-mer", path).band.has_variance


@pytest.mark.parametrize("camera", ["DES-G", "CFIS-R", "WISHES-Z"])
def test_flags_of_other_telescopes_are_not_taken_for_euclids(tmp_path, camera):
    path = write_mer(tmp_path, band=camera)
    write_mer(tmp_path, "FLAG", np.full(SHAPE, 1 << 22, np.int32), band=camera)
    write_mer(tmp_path, "RMS", np.ones(SHAPE, np.float32), band=camera)
    exposure = opened("euclid-mer", path, camera)
    assert not exposure.read(WHOLE).mask.any()
    assert exposure.band.has_variance
    assert exposure.flags is None


@pytest.mark.parametrize(
    ("kind", "plane", "message"),
    [
        ("RMS", np.ones((30, 41), np.float32), r"RMS_TILE.*\(30, 41\).*\(30, 40\)"),
        ("FLAG", np.ones((31, 40), np.int32), r"FLAG_TILE.*\(31, 40\).*\(30, 40\)"),
        ("FLAG", np.ones(SHAPE, np.float32), "FLAG_TILE.*holds floats"),
    ],
)
def test_planes_that_do_not_fit_are_refused(tmp_path, kind, plane, message):
    path = write_mer(tmp_path)
    write_mer(tmp_path, kind, plane)
    with pytest.raises(MosaicError, match=message) as caught:
        opened("euclid-mer", path)
    assert "\n" not in str(caught.value)


def test_a_truncated_plane_is_refused(tmp_path):
    path = write_mer(tmp_path)
    rms = write_mer(tmp_path, "RMS", np.ones(SHAPE, np.float32))
    os.truncate(rms, 4000)
    with pytest.raises(MosaicError, match=r"RMS_TILE.*truncated.*fetch it again"):
        opened("euclid-mer", path)


@pytest.mark.parametrize("name", [mer_name("RMS"), mer_name("FLAG"), "tile.fits"])
def test_what_is_no_image_of_a_tile_is_refused(tmp_path, name):
    path = write_fits(tmp_path / name, noise_image(), MAGZERO=24.6)
    with pytest.raises(MosaicError, match=r"no image of a MER tile.*BGSUB-MOSAIC"):
        opened("euclid-mer", path)


@pytest.mark.parametrize("key", ["mask_hdu", "variance_hdu", "rms_hdu", "weight_hdu"])
def test_settings_that_a_tile_would_not_follow_are_refused(tmp_path, key):
    path = write_mer(tmp_path)
    with pytest.raises(MosaicError, match=f"{key} = 0.*beside the image.*leave it out"):
        opened("euclid-mer", path, **{key: 0})


def test_superseded_images_are_left_out():
    keep = [
        Path("a") / mer_name("BGSUB", time=NEWER),
        Path("a") / mer_name("BGSUB", band="NIR-H", time=OLD),
        Path("b") / mer_name("BGSUB", tile="TILE102018666", time=OLD),
        Path("b") / mer_name("BGSUB", tile="TILE102018666", time=OLD, digest="AAAAAA"),
        Path("notes.fits"),
        Path("a") / mer_name("RMS", time=OLD),
    ]
    drop = [
        Path("a") / mer_name("BGSUB", time=OLD),
        Path("c") / mer_name("BGSUB", time=NEW, digest="FFFFFF"),
    ]
    rng = np.random.default_rng(7)
    for _ in range(10):
        paths = [(keep + drop)[index] for index in rng.permutation(len(keep + drop))]
        assert SELECT["euclid-mer"](paths) == [path for path in paths if path in keep]


def test_flags_one_bit_at_a_time():
    expected = {
        0: MaskBit.NO_DATA,
        1: MaskBit.BAD,
        2: MaskBit.BAD,
        3: MaskBit.SATURATED,
        4: MaskBit.COSMIC_RAY,
        5: MaskBit.SUSPECT,
        7: MaskBit.BAD,
        14: MaskBit.SUSPECT,
        19: MaskBit.BRIGHT_STAR,
        22: MaskBit.NO_DATA,
    }
    for bit in range(31):
        mask = mask_of_flags(np.array([1 << bit, 0], np.int32))
        assert mask.tolist() == [expected.get(bit, 0), 0]
    everything = mask_of_flags(np.array([255], np.uint8))
    assert everything[0] & UNUSABLE == UNUSABLE & ~MaskBit.EDGE


# Real stamps: the generic reader, with the noise of the RMS planes

STAMPS = {
    "euclid_q1_102018665_des_griz_vis_yjh_100px.fits": "BGSUB",
    "euclid_q1_EUCLJ174517_hsc_gz_vis_yjh_100px.fits": "FLUX",
    "euclid_q1_group_vis_yjh_300px.fits": "FLUX",
}
MAGZERO = {"VIS": 24.6, "NIR_Y": 29.8, "NIR_J": 30.0, "NIR_H": 29.9}


def aperture(shape, y, x, radius_px):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(rows - y, columns - x) <= radius_px


def read_stamp(path, band, suffix):
    image = f"{band}_{suffix}"
    # Where nothing was observed the image itself is 0.
    exposure = opened("fits", path, band, hdu=image, coverage_hdu=image, rms_hdu=f"{band}_RMS")
    return exposure, exposure.read(Box(0, exposure.shape[0], 0, exposure.shape[1]))


@pytest.mark.parametrize("name", STAMPS)
@pytest.mark.parametrize("band", MAGZERO)
def test_pixels_of_a_real_stamp(real_data, name, band):
    path = real_data / "euclid" / name
    exposure, window = read_stamp(path, band, STAMPS[name])
    with fits.open(path) as hdus:
        counts = hdus[f"{band}_{STAMPS[name]}"].data.astype(float)
        rms = hdus[f"{band}_RMS"].data.astype(float)
    scale = 10 ** (0.4 * (31.4 - MAGZERO[band]))
    seen = rms < 1e15
    assert exposure.band.has_variance
    assert exposure.band.zero_point == MAGZERO[band]
    np.testing.assert_allclose(window.flux[seen], (counts * scale)[seen], rtol=1e-5)
    np.testing.assert_allclose(window.variance[seen], ((rms * scale) ** 2)[seen], rtol=1e-5)
    np.testing.assert_array_equal((window.mask & MaskBit.NO_DATA) == 0, seen)
    # Resampling has correlated the noise: its scatter is below what the maps say, not far below.
    sky = 1.4826 * np.nanmedian(np.abs(window.flux - np.nanmedian(window.flux)))
    assert 0.1 < sky / np.sqrt(np.nanmedian(window.variance)) < 1.2


def test_the_magnitude_of_a_real_star_by_hand(real_data):
    """The brightest object of the group's stamp, in 2 arcsec: counts, zero point, nothing else."""
    path = real_data / "euclid" / "euclid_q1_group_vis_yjh_300px.fits"
    for band, by_hand in (("VIS", 19.054), ("NIR_Y", 18.873), ("NIR_J", 18.952)):
        with fits.open(path) as hdus:
            counts = hdus[f"{band}_FLUX"].data.astype(float)
        disk = aperture(counts.shape, 182, 144, 20)
        assert MAGZERO[band] - 2.5 * np.log10(counts[disk].sum()) == pytest.approx(
            by_hand, abs=0.001
        )
        _, window = read_stamp(path, band, "FLUX")
        flux_njy = window.flux[disk].astype(float).sum()
        assert 31.4 - 2.5 * np.log10(flux_njy) == pytest.approx(by_hand, abs=0.001)


def test_bands_of_two_telescopes_agree_on_a_real_galaxy(real_data):
    """Zero points of 24.6 and 30.0 must give one sky: VIS is nearly 0.45 r + 0.32 i + 0.22 z."""
    path = real_data / "euclid" / "euclid_q1_102018665_des_griz_vis_yjh_100px.fits"
    flux = {}
    for band in ("VIS", "DES_R", "DES_I", "DES_Z"):
        _, window = read_stamp(path, band, "BGSUB")
        flux[band] = window.flux[aperture(window.flux.shape, 49, 49, 20)].astype(float).sum()
    expected = 0.452 * flux["DES_R"] + 0.315 * flux["DES_I"] + 0.223 * flux["DES_Z"]
    assert 2.5 * np.log10(flux["VIS"] / expected) == pytest.approx(0.0, abs=0.2)
