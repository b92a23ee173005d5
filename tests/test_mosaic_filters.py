"""What a filter's name means, and that no image passes for one of another band."""

import itertools
import tomllib

import numpy as np
import pytest
from astropy.io import fits

from survey_classifier.errors import MosaicError
from survey_classifier.mosaic.exposure import MosaicInput
from survey_classifier.mosaic.inputs import matching_files
from survey_classifier.mosaic.mosaic_settings import MosaicSettings
from survey_classifier.mosaic.readers import READERS
from survey_classifier.mosaic.readers.filters import filters_of, passbands, require_band
from survey_classifier.synthetic.survey import SURVEYS, simulate_survey
from tests.test_mosaic_fits import SHAPE, write

PLAIN = {
    "u": ["u", "u*", "MEGACAM_u", "u.MP9302"],
    "g": ["g", "G", "HSC-G", "HSC_g", "DECAM_g", "g DECam SDSS c0001 4720.0 1520.0", "W-S-G+",
          "g.00000", "g_01", "g_SDSS", "SDSS g'", "ZTF_g"],
    "r": ["r", "HSC-R2", "R.MP9602", "r.00000", "CFIS-R", "Bessell R", " r "],
    "i": ["i", "HSC-I2", "DES_I", "i_39"],
    "z": ["z", "WISHES-Z", "z.MP9801"],
    "y": ["y", "NIR-Y", "NIR_Y", "NISP-Y", "HSC-Y", "Y_E", "y_10"],
    "j": ["J", "NIR-J", "J_MKO"],
    "h": ["H", "NIR_H", "WFCAM-H"],
    "k": ["K", "Ks", "2MASS Ks"],
    "vis": ["VIS", "Euclid_VIS", "I_E", "IE"],
}  # fmt: skip
UNCLEAR = [
    "", " ", "-", "_unknown_", "red", "clear", "F814W", "NB0921", "HSC-NB0921", "W-J-V", "W-C-RC",
    "i-z", "g_r", "VIS_r", "gri", "g+r", "W1", "7", "OCAM_g_SDSS_2", "visible", "V", "B", "H2",
]  # fmt: skip


def accepts(band, *said):
    try:
        require_band(band, said, "image.fits", "header")
    except MosaicError:
        return False
    return True


def test_names_of_filters():
    for passband, names in PLAIN.items():
        for name in names:
            assert passbands(name) == {passband}, name
    for name in UNCLEAR:
        assert passbands(name) == set(), name


def test_plain_names_are_held_against_each_other_and_no_others():
    for (one, ours), (other, theirs) in itertools.product(PLAIN.items(), repeat=2):
        for name, band in itertools.product(ours, theirs):
            assert accepts(band, name) == (one == other), (name, band)
    every = [*itertools.chain.from_iterable(PLAIN.values()), *UNCLEAR]
    for unclear, name in itertools.product(UNCLEAR, every):
        assert accepts(unclear, name)
        assert accepts(name, unclear)


def test_a_capital_i_may_be_euclids():
    assert accepts("I", "VIS")
    assert accepts("VIS", "I")
    assert accepts("I", "i")
    assert accepts("i", "I")
    assert not accepts("i", "VIS")
    assert not accepts("I", "r")


def test_one_of_several_statements_will_do():
    assert accepts("g", "_unknown_", "g")
    assert accepts("g", "r", "g")
    assert not accepts("g", "_unknown_", "r", "i")
    assert accepts("g")
    with pytest.raises(MosaicError) as caught:
        require_band("g", ["_unknown_", "HSC-R2"], "folder/image.fits", "name")
    assert str(caught.value) == (
        "folder/image.fits is of the filter HSC-R2 by its name, not of band 'g': give it its own "
        "band, leave it out, or mend its name"
    )


def test_cards_of_a_header():
    header = fits.Header()
    assert filters_of(header) == []
    header.extend([("FILTER", "DECAM_g"), ("FILTER", "DES_G"), ("BAND", 3), ("FILTER2", "r")])
    assert filters_of(header) == ["DECAM_g", "DES_G", "3"]
    undefined = fits.Header.fromstring("FILTER  =" + " " * 71 + f"{'END':80}")
    assert all(passbands(said) == set() for said in filters_of(undefined))


@pytest.mark.parametrize("card", ["FILTER", "BAND"])
@pytest.mark.parametrize(
    ("said", "is_fine"),
    [("r.MP9602", True), ("HSC-R2", True), ("r.00000", True), ("F625W", True), (3, True),
     ("g DECam SDSS c0001 4720.0 1520.0", False), ("HSC-I2", False), ("VIS", False)],
)  # fmt: skip
def test_any_image_is_refused_if_its_header_is_plain(tmp_path, card, said, is_fine):
    path = write(tmp_path / "image.fits", **{card: said})
    settings = MosaicInput(path=path.name, band="r")
    assert READERS["fits"](settings.model_copy(update={"band": "red"}), path).band.name == "red"
    if is_fine:
        assert READERS["fits"](settings, path).band.name == "r"
        return
    with pytest.raises(MosaicError, match=f"{path} is of the filter {said} by its header"):
        READERS["fits"](settings, path)


def test_other_hdus_say_nothing_of_an_image(tmp_path):
    path = write(tmp_path / "image.fits", plane=np.zeros(SHAPE, np.uint8),
                 plane_cards={"FILTER": "i"})  # fmt: skip
    settings = MosaicInput(path=path.name, band="r", mask_hdu="MASK")
    assert READERS["fits"](settings, path).band.name == "r"


SIMULATED = {
    "hsc": (["g", "r"], {"size_px": 300, "tile_px": 250, "overlap_px": 15}),
    "euclid-mer": (["VIS", "Y"], {"size_px": 400, "tile_px": 420, "overlap_px": 40}),
    "euclid-ero": (["VIS", "H"], {"size_px": 600}),
    "sdss": (["r", "i"], {"size_px": 250, "tile_px": 300, "overlap_px": 30}),
}


@pytest.mark.parametrize("survey", SURVEYS)
def test_a_simulated_file_is_of_its_own_band_alone(tmp_path, survey):
    """By the inputs of its own run file, and by those with their bands exchanged."""
    bands, sizes = SIMULATED[survey]
    made = simulate_survey(tmp_path / "sky", survey, seed=5, bands=bands, **sizes)
    table = tomllib.loads(made.run_file.read_text())["mosaic"]
    inputs = MosaicSettings.model_validate(table).inputs
    assert [entry.band for entry in inputs] == bands
    for entry, other in (inputs, inputs[::-1]):
        (path, _), *_ = matching_files(entry, made.folder)
        assert READERS[entry.reader](entry, path).band.name == entry.band
        wrong = entry.model_copy(update={"band": other.band})
        with pytest.raises(
            MosaicError, match=f"{path} is of the filter .*not of band .{other.band}"
        ):
            READERS[entry.reader](wrong, path)


REAL = [
    ("euclid/euclid_q1_102018665_des_griz_vis_yjh_100px.fits", "_BGSUB", 8),
    ("euclid/euclid_q1_EUCLJ174517_hsc_gz_vis_yjh_100px.fits", "_FLUX", 8),
    ("euclid/euclid_q1_group_vis_yjh_300px.fits", "_FLUX", 4),
    ("hsc/hsc_lsbg_grizy.fits", "", 5),
    ("perseus/perseus_sdss_rgb_0p4_west_dev.fits", "", 3),
]


@pytest.mark.parametrize(("name", "suffix", "n_bands"), REAL)
def test_a_real_image_is_of_its_own_band_alone(real_data, name, suffix, n_bands):
    """Its HDUs are named by camera and band; their cards spell it as the surveys do."""
    path = real_data / name
    with fits.open(path) as hdus:
        said = [hdu.name for hdu in hdus if {"FILTER", "BAND"} & set(hdu.header)]
    own = {hdu: hdu.removesuffix(suffix) for hdu in said if hdu.endswith(suffix)}
    own = {hdu: band for hdu, band in own.items() if not hdu.endswith("_PSF")}
    assert len(own) == n_bands
    letters = {hdu: band.rsplit("_", 1)[-1].lower() for hdu, band in own.items()}
    assert len(set(letters.values())) == n_bands
    for hdu, other in itertools.product(own, repeat=2):
        for band in {own[other], letters[other]}:
            entry = MosaicInput(path=path.name, band=band, hdu=hdu, unit="display")
            if hdu == other:
                assert READERS["fits"](entry, path).band.name == band
                continue
            with pytest.raises(MosaicError, match=f"of the filter .* not of band '{band}'"):
                READERS["fits"](entry, path)


def test_a_real_exposure_that_does_not_know_its_filter_is_of_any_band(real_data):
    path = real_data / "hsc" / "HSC-0908120-056-small.fits"
    for band in "gri":
        entry = MosaicInput(reader="hsc", path=path.name, band=band, zero_point=27.0)
        assert READERS["hsc"](entry, path).band.name == band
