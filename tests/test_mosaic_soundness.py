"""Whether a file is undamaged and not empty, before its pixels are used."""

import bz2
import gzip
import warnings

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import assume, given
from hypothesis import strategies as st

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.readers import soundness
from survey_classifier.mosaic.readers.soundness import has_data, require_checksum
from tests.array_exposure import ArrayExposure
from tests.test_stamps import tan_wcs


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """Every kind of HDU, with checksums by astropy."""
    path = tmp_path_factory.mktemp("sealed") / "sealed.fits"
    rng = np.random.default_rng(3)
    pixels = rng.normal(size=(301, 211)).astype(np.float32)
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(pixels, name="SCI")]
    hdus += [fits.ImageHDU(rng.integers(0, 60000, (31, 7)).astype(np.uint16), name="MASK")]
    hdus += [fits.CompImageHDU(pixels, name="RICE", compression_type="RICE_1")]
    hdus += [fits.BinTableHDU.from_columns([fits.Column("a", "E", array=np.arange(9.0))])]
    fits.HDUList(hdus).writeto(path, checksum=True)
    return path


def test_a_sound_file_passes(sealed):
    with fits.open(sealed, disable_image_compression=True) as hdus:
        assert all("DATASUM" in hdu.header and "CHECKSUM" in hdu.header for hdu in hdus)
    require_checksum(sealed)


@given(data=st.data())
def test_any_changed_byte_is_noticed(sealed, tmp_path_factory, data):
    """A sum of words sees each single change, wherever it is and through which piece it is read."""
    content = bytearray(sealed.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    # Without its own keyword a checksum is not missed, and all else is whole.
    assume(b"CHECKSUM" not in content[place - 7 : place + 8])
    content[place] ^= data.draw(st.sampled_from([1, 2, 4]))
    path = tmp_path_factory.getbasetemp() / "changed.fits"
    path.write_bytes(content)
    # Outside of tests astropy only warns where a damaged header ends the list of HDUs.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(MosaicError, match=r"changed\.fits"):
            require_checksum(path)


def test_the_damaged_hdu_is_named(sealed, tmp_path):
    content = bytearray(sealed.read_bytes())
    with fits.open(sealed) as hdus:
        content[hdus["MASK"].fileinfo()["datLoc"] + 5] ^= 8
    path = tmp_path / "m.fits"
    path.write_bytes(content)
    with pytest.raises(MosaicError, match=r"HDU 2 \(MASK\) of .*m\.fits .* DATASUM = .*fetch") as e:
        require_checksum(path)
    assert "\n" not in str(e.value)


def test_a_changed_header_is_noticed(sealed, tmp_path):
    path = tmp_path / "m.fits"
    path.write_bytes(sealed.read_bytes().replace(b"'SCI     '", b"'SCJ     '"))
    with pytest.raises(MosaicError, match=r"HDU 1 \(SCJ\) .* CHECKSUM = "):
        require_checksum(path)


@pytest.mark.parametrize("module", [gzip, bz2])
def test_a_compressed_file_is_checked_as_what_it_holds(sealed, tmp_path, module):
    path = tmp_path / "m.fits.packed"
    path.write_bytes(module.compress(sealed.read_bytes()))
    require_checksum(path)
    content = bytearray(sealed.read_bytes())
    content[-1] ^= 1
    path.write_bytes(module.compress(content))
    with pytest.raises(MosaicError, match="DATASUM"):
        require_checksum(path)


def with_cards(path, content, **cards):
    hdu = fits.PrimaryHDU(content)
    hdu.header.update(cards)
    hdu.writeto(path)
    return path


@pytest.mark.parametrize("cards", [{}, {"CHECKSUM": "", "DATASUM": ""}])
def test_a_file_without_checksums_passes(tmp_path, cards):
    require_checksum(with_cards(tmp_path / "m.fits", np.ones((3, 4)), **cards))


@pytest.mark.parametrize("stated", ["17", "no number", "-5", "0000000000"])
def test_a_sum_of_the_data_alone(tmp_path, stated):
    path = with_cards(tmp_path / "m.fits", np.ones((3, 4)), DATASUM=stated)
    with pytest.raises(MosaicError, match=r"HDU 0 \(PRIMARY\)"):
        require_checksum(path)


@pytest.mark.parametrize("n_words", [0, 1, 2**16 - 1, 2**16])
def test_carries_of_a_long_sum(tmp_path, monkeypatch, n_words):
    """Words of all ones, through pieces of all lengths, against the definition word by word."""
    monkeypatch.setattr(soundness, "PIECE_BYTES", 4 * 1000)
    words = np.full(n_words, -1, np.int32)
    words[: n_words // 3] = 12345
    total = 0
    for word in words.view(np.uint32).tolist():
        total += word
        total = (total & 0xFFFFFFFF) + (total >> 32)
    path = with_cards(tmp_path / "m.fits", words if n_words else None, DATASUM=str(total))
    require_checksum(path)
    wrong = with_cards(tmp_path / "w.fits", words if n_words else None, DATASUM=str(total + 1))
    with pytest.raises(MosaicError, match="DATASUM"):
        require_checksum(wrong)


NY, NX = 3000, 2500


class Counted(ArrayExposure):
    """Counts the pixels that are read."""

    n_read = 0

    def read(self, box):
        type(self).n_read += box.area
        assert Box(0, NY, 0, NX).intersection(box) == box
        return super().read(box)


@pytest.mark.parametrize("place", [None, (0, 0), (NY - 1, NX - 1), (0, NX - 1), (1500, 7)])
def test_the_one_pixel_of_an_image_is_found(place):
    flux = np.full((NY, NX), np.nan, np.float32)
    if place is not None:
        flux[place] = 0.0
    Counted.n_read = 0
    assert has_data(Counted("g.fits", flux, tan_wcs())) == (place is not None)
    assert Counted.n_read <= NY * NX


def test_a_usual_image_is_seen_at_its_center():
    Counted.n_read = 0
    assert has_data(Counted("g.fits", np.zeros((NY, NX), np.float32), tan_wcs()))
    assert Counted.n_read <= 1024**2


def test_a_damaged_header_hides_nothing(sealed, tmp_path):
    """astropy takes it for the end of the file, and only warns."""
    content = bytearray(sealed.read_bytes())
    with fits.open(sealed, disable_image_compression=True) as hdus:
        start = hdus[-1].fileinfo()["hdrLoc"]
    content[start : start + 8] = b"YTENSION"
    path = tmp_path / "m.fits"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(MosaicError, match=r"m\.fits"):
            require_checksum(path)
