"""Images that exist already: planes, scales, where the source ends up, and files that do harm."""

import contextlib
import io
import os
import pickle
import struct
import zipfile
import zlib

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from survey_classifier.errors import ConfigError, ImageError, InputError, SourcesError
from survey_classifier.images import archive, decode
from survey_classifier.images.archive import open_archive
from survey_classifier.images.cut import stamps_from_images
from survey_classifier.images.frame import ImageFrame, read_bands, read_position
from tests import small_run

RGB = ImageFrame(("i", "r", "g"), 0.1, (11.3, 5.7))
NJY = ImageFrame(("g", "i"), unit="nJy")


def picture(seed=0, shape=(30, 20, 3), kind="PNG", **options):
    pixels = np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels, **options).save(file, kind)
    return file.getvalue()


def fits_bytes(*hdus):
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(file)
    return file.getvalue()


def image_hdu(name, seed, shape=(30, 20), wcs=True, compressed=False, **cards):
    header = small_run.grid().to_header() if wcs else fits.Header()
    header.update(cards)
    pixels = np.random.default_rng(seed).normal(0, 5, shape).astype(np.float32)
    kind = fits.CompImageHDU if compressed else fits.ImageHDU
    return kind(pixels, header, name=name)


# ---- where files lie


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for seed, name in enumerate(("a.png", "b.png")):
        (folder / name).write_bytes(picture(seed))
    (tmp_path / "secret.png").write_bytes(picture(9))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(folder / "pipe.png")
    return folder


@pytest.fixture
def zipped(folder, tmp_path):
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("a.png", "b.png"):
            file.write(folder / name, name)
        for name in ("../evil.png", "/etc/evil.png", "x\\..\\evil.png"):
            file.writestr(name, picture())
    return path


def test_folder_and_zip_hold_the_same(folder, zipped):
    for origin in (folder, zipped):
        with open_archive(origin) as files:
            assert [files.holds(name) for name in ("a.png", "b.png", "c.png", "")] == [1, 1, 0, 0]
            assert files.read("b.png") == (folder / "b.png").read_bytes()
            with pytest.raises(
                SourcesError, match=r"image 'c\.png' is not in .* holds '.*' for one"
            ):
                files.read("c.png")


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "link.png"])
def test_no_name_leads_out_of_the_folder(folder, name):
    with open_archive(folder) as files:
        assert not files.holds(name)
        with pytest.raises(SourcesError, match="leads out of"):
            files.read(name)


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "x\\..\\evil.png"])
def test_no_name_leads_out_of_a_zip_and_nothing_is_unpacked(zipped, tmp_path, name):
    before = sorted(tmp_path.rglob("*"))
    with open_archive(zipped) as files:
        assert not files.holds(name)
        with pytest.raises(SourcesError, match="leads out of"):
            files.read(name)
        files.read("a.png")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["pipe.png", "a\0.png", "a" * 5000, ".", "a.png/b.png"])
def test_what_is_no_file_is_not_there(folder, name):
    with open_archive(folder) as files, pytest.raises(SourcesError, match="is not in "):
        files.read(name)


def test_bombs_are_refused_before_they_are_unpacked(tmp_path):
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.png", bytes(archive.MAX_FILE_BYTES + 1))
    with open_archive(bomb) as files, pytest.raises(SourcesError, match="are allowed"):
        files.read("a.png")
    # The same, and the directory of the zip says that it is a hundred bytes.
    content = bytearray(bomb.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = struct.pack("<I", 100)
    bomb.write_bytes(content)
    with open_archive(bomb) as files, pytest.raises(SourcesError, match="can't be unpacked"):
        files.read("a.png")


def test_large_files_are_refused(folder, zipped, monkeypatch):
    monkeypatch.setattr(archive, "MAX_FILE_BYTES", 100)
    for origin in (folder, zipped):
        with open_archive(origin) as files, pytest.raises(SourcesError, match="100 are allowed"):
            files.read("a.png")


@pytest.mark.parametrize("where", [6, 8], ids=["encrypted", "unknown method"])
def test_a_member_that_cannot_be_unpacked_is_named(zipped, where):
    content = bytearray(zipped.read_bytes())
    local, entry = content.index(b"PK\x03\x04"), content.index(b"PK\x01\x02")
    content[local + where] = content[entry + where + 2] = 99
    zipped.write_bytes(content)
    with open_archive(zipped) as files, pytest.raises(SourcesError, match=r"'a\.png'.*unpacked"):
        files.read("a.png")


def test_what_is_no_zip_is_refused(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"PK nothing")
    for path in (tmp_path / "x.zip", tmp_path / "absent.zip"):
        with pytest.raises(SourcesError, match="no folder and no zip"), open_archive(path):
            pass


# ---- PNG and JPEG


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_planes_of_a_picture_are_bands_with_north_up(kind):
    content = picture(3, kind=kind)
    planes = decode.decode("a", content, RGB)
    pixels = np.asarray(Image.open(io.BytesIO(content))).astype(np.float32)
    np.testing.assert_array_equal(planes.flux, pixels[::-1].transpose(2, 0, 1))
    assert planes.source_px == pytest.approx((11.3, 29 - 5.7))
    middle = decode.decode("a", content, ImageFrame(("i", "r", "g"), 0.1))
    assert middle.source_px == (9.5, 14.5)


def test_what_is_clear_is_unknown():
    shape = (30, 20, 4)
    pixels = np.random.default_rng(5).integers(0, 255, shape).astype(np.uint8)
    pixels[..., 3] = 255
    pixels[:7, 3, 3] = 0
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    planes = decode.decode("a", file.getvalue(), RGB)
    expected = pixels[::-1, :, :3].transpose(2, 0, 1).astype(np.float32)
    expected[:, 23:, 3] = np.nan
    np.testing.assert_array_equal(planes.flux, expected)
    # With four bands the fourth plane is one of them.
    four = decode.decode("a", file.getvalue(), ImageFrame(("z", "i", "r", "g"), 0.1))
    assert four.flux.shape == (4, 30, 20)
    assert np.isfinite(four.flux).all()


def test_a_gray_picture_has_one_band():
    gray = picture(1, (30, 20))
    assert decode.decode("a", gray, ImageFrame(("VIS",), 0.1)).flux.shape == (1, 30, 20)
    with pytest.raises(SourcesError, match="1 plane for 3 bands"):
        decode.decode("a", gray, RGB)
    palette = io.BytesIO()
    Image.open(io.BytesIO(gray)).convert("P").save(palette, "PNG")
    with pytest.raises(SourcesError, match="colors of the kind P"):
        decode.decode("a", palette.getvalue(), ImageFrame(("VIS",), 0.1))


@pytest.mark.parametrize(
    "content",
    [b"", b"not an image", picture()[:-40], b"GIF89a" + bytes(40), b"%!PS-Adobe-3.0 EPSF"],
)
def test_what_is_no_image_is_refused(content):
    with pytest.raises(SourcesError, match="no readable PNG, JPEG or FITS"):
        decode.decode("a", content, RGB)


@pytest.mark.parametrize(
    ("start", "kind"),
    [(b"GIF89a", "a GIF; convert"), (b"BM", "a BMP; convert"), (b"II*\0", "a TIFF; convert"),
     (b"\x1f\x8b", "compressed; unpack")],
)  # fmt: skip
def test_a_picture_of_another_format_is_named(start, kind):
    with pytest.raises(ImageError, match=f"no readable PNG, JPEG or FITS but {kind} it") as found:
        decode.decode("a", start + bytes(40), RGB)
    assert not found.value.is_damage


def test_an_error_has_the_name_and_its_reason_has_not():
    for name in ("a", "the image", "x y.png"):
        with pytest.raises(ImageError) as found:
            decode.decode(name, picture(1, (30, 20)), RGB)
        reason = "the image has 1 plane for 3 bands (i, r, g); give images of these bands, or a"
        assert found.value.reason.startswith(reason)
        assert str(found.value) == found.value.reason.replace("the image", f"the image {name}", 1)
        again = pickle.loads(pickle.dumps(found.value))  # noqa: S301
        assert str(again) == str(found.value)


@pytest.mark.parametrize("side", [5000, 12_000, 60_000])
def test_a_picture_too_large_is_refused_before_it_is_decoded(side):
    def chunk(name, content):
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    size = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"x"))
    with pytest.raises(SourcesError, match=r"shrink it|get it again"):
        decode.decode("a", content, RGB)


def test_display_values_are_no_flux():
    with pytest.raises(SourcesError, match="display values, nJy is needed"):
        decode.decode("a", picture(1, (30, 20, 3)), ImageFrame(("g", "r", "i"), 0.1, unit="nJy"))
    with pytest.raises(SourcesError, match="nothing says the pixel scale"):
        decode.decode("a", picture(), ImageFrame(("i", "r", "g")))


# ---- FITS


@pytest.mark.parametrize("compressed", [False, True])
def test_hdus_are_bands_by_name_or_number(compressed):
    hdus = [image_hdu(name, seed, compressed=compressed, BUNIT="nJy")
            for seed, name in enumerate(("I", "PSF", "G"))]  # fmt: skip
    content = fits_bytes(*hdus)
    by_name = decode.decode("a", content, NJY)
    by_number = decode.decode(
        "a", content, ImageFrame(("g", "i"), unit="nJy", hdus={"g": 3, "i": "I"})
    )
    for planes in (by_name, by_number):
        with fits.open(io.BytesIO(content)) as stored:
            np.testing.assert_array_equal(planes.flux, [stored["G"].data, stored["I"].data])
        assert planes.scale_arcsec == pytest.approx(0.4, rel=1e-9)
        assert planes.source_px == (9.5, 14.5)
    at = decode.decode("a", content, ImageFrame(("g", "i"), 0.4, (3.0, 2.0), unit="nJy"))
    assert at.source_px == (3.0, 2.0)  # from the first row, which is at the bottom


def test_each_hdu_has_its_own_zero_point():
    hdus = [image_hdu("G", 1, MAGZERO=30.0), image_hdu("I", 2, BUNIT="uJy")]
    planes = decode.decode("a", fits_bytes(*hdus), NJY)
    # 31.4 is the AB magnitude of 1 nJy, 30.0 that of a count: 10^(0.4 * 1.4) nJy.
    np.testing.assert_allclose(planes.flux[0], hdus[0].data * 10**0.56, rtol=1e-6)
    np.testing.assert_allclose(planes.flux[1], hdus[1].data * 1000, rtol=1e-6)
    declared = ImageFrame(("g", "i"), unit="nJy", zero_point=27.0)
    counts = decode.decode("a", fits_bytes(image_hdu("G", 1), image_hdu("I", 2)), declared)
    np.testing.assert_allclose(counts.flux[0], hdus[0].data * 10 ** (0.4 * 4.4), rtol=1e-6)
    with pytest.raises(ImageError, match="the image a has no zero point"):
        decode.decode("a", fits_bytes(image_hdu("G", 1), image_hdu("I", 2)), NJY)


def test_planes_of_a_cube_are_bands():
    cube = image_hdu("CUBE", 1, (2, 30, 20), wcs=False, CTYPE1="RA---TAN", CTYPE2="DEC--TAN",
                     CDELT1=-1e-4, CDELT2=1e-4, CTYPE3="WAVE", BUNIT="nJy")  # fmt: skip
    planes = decode.decode("a", fits_bytes(cube), NJY)
    np.testing.assert_array_equal(planes.flux, cube.data)
    assert planes.scale_arcsec == pytest.approx(0.36)
    with pytest.raises(SourcesError, match="2 planes for 3 bands"):
        decode.decode("a", fits_bytes(cube), ImageFrame(("g", "r", "i"), unit="nJy"))
    single = decode.decode("a", fits_bytes(image_hdu("X", 1, MAGZERO=30)),
                           ImageFrame(("VIS",), unit="nJy"))  # fmt: skip
    assert single.flux.shape == (1, 30, 20)


def test_blank_pixels_are_unknown():
    hdus = image_hdu("G", 1, BUNIT="nJy"), image_hdu("I", 2, BUNIT="nJy")
    hdus[0].data[3, 4], hdus[1].data[5, 6] = np.nan, np.inf
    flux = decode.decode("a", fits_bytes(*hdus), NJY).flux
    assert np.argwhere(np.isnan(flux)).tolist() == [[0, 3, 4], [1, 5, 6]]
    assert not np.isinf(flux).any()


@pytest.mark.parametrize(
    ("hdus", "frame", "message"),
    [
        ([image_hdu("G", 1, BUNIT="nJy")], NJY, "has no HDU 'i'"),
        ([image_hdu("G", 1, (9, 9), BUNIT="nJy"), image_hdu("I", 1, BUNIT="nJy")], NJY, "shapes"),
        ([image_hdu("G", 1, BUNIT="nJy"),
          image_hdu("I", 1, BUNIT="nJy", CDELT1=-2e-4, CDELT2=2e-4)], NJY,
         r"the bands of the image a\.fits have from 0\.4 to 0\.72 arcsec/px; align them$"),
        ([image_hdu("G", 1, wcs=False, BUNIT="nJy"), image_hdu("I", 1, BUNIT="nJy")], NJY,
         "nothing says the pixel scale"),
        ([image_hdu("G", 1, BUNIT="nJy"), image_hdu("I", 1, BUNIT="nJy")],
         ImageFrame(("g", "i"), 0.2, unit="nJy"), "has 0.4 arcsec/px by its WCS, not the 0.2"),
        ([image_hdu("G", 1, BUNIT="uJy"), image_hdu("I", 1)], ImageFrame(("g", "i")), "is a flux"),
        ([], NJY, "has no HDU 'g'"),
        ([image_hdu("G", 1, (5000, 2), BUNIT="nJy"), image_hdu("I", 1)], NJY, "2 x 5000 px"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_fits_file_is_said(hdus, frame, message):
    with pytest.raises(InputError, match=message):
        decode.decode("a.fits", fits_bytes(*hdus), frame)


def test_damaged_tiles_are_our_error():
    content = bytearray(SOUND["tiles"][0])
    tiles = content.rindex(b"END     ") + 80
    content[tiles + 400 :] = bytes(len(content) - tiles - 400)
    with pytest.raises(ImageError, match=r"cannot read the image a\.fits as FITS") as found:
        decode.decode("a.fits", bytes(content), NJY)
    assert found.value.is_damage
    assert "a.fits" not in found.value.reason


SOUND = {
    "png": (picture(), RGB),
    "jpeg": (picture(kind="JPEG"), RGB),
    "fits": (fits_bytes(image_hdu("G", 1, BUNIT="nJy"), image_hdu("I", 2, BUNIT="nJy")), NJY),
    "tiles": (fits_bytes(*(image_hdu(b, 1, compressed=True, BUNIT="nJy") for b in "GI")), NJY),
}


@pytest.mark.parametrize("kind", SOUND)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@given(data=st.data())
@settings(max_examples=60)
def test_a_damaged_image_is_our_error_or_an_image(kind, data):
    content, frame = SOUND[kind]
    damaged = bytearray(content)
    # Headers come first, and are what decoders stumble over.
    reach = min(len(content), 9000)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, reach - 1))] = data.draw(st.integers(0, 255))
    whole = data.draw(st.booleans())
    damaged = damaged if whole else damaged[: data.draw(st.integers(0, len(content)))]
    with contextlib.suppress(InputError):
        planes = decode.decode("a", bytes(damaged), frame)
        assert planes.flux.shape[0] == len(frame.bands)
        assert planes.scale_arcsec > 0


# ---- stamps


def test_picture_and_fits_of_the_same_pixels_are_the_same_stamp():
    content = picture(7)
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    cube = fits.ImageHDU(pixels[::-1].transpose(2, 0, 1).astype(np.float32))
    shown = decode.decode("a", content, RGB)
    stored = decode.decode("a", fits_bytes(cube), ImageFrame(RGB.bands, 0.1, (11.3, 29 - 5.7)))
    stamps = [stamps_from_images([p], 1, RGB.bands, 0.1, 25) for p in (shown, stored)]
    np.testing.assert_array_equal(stamps[0].flux, stamps[1].flux)
    np.testing.assert_allclose(stamps[0].offset_px, stamps[1].offset_px, atol=1e-6)


@pytest.mark.parametrize("rim_px", [0, 2])
def test_an_image_is_continued_by_its_rim_and_no_further(rim_px):
    planes = decode.decode("a", picture(7, (21, 21, 3)), ImageFrame(RGB.bands, 0.1))
    stamps = stamps_from_images([planes], 1, RGB.bands, 0.1, 31, rim_px)
    beyond = 5 - rim_px
    inner = stamps.flux[0][:, beyond : 31 - beyond, beyond : 31 - beyond]
    np.testing.assert_array_equal(inner, np.pad(planes.flux, ((0, 0), *[(rim_px, rim_px)] * 2),
                                                mode="edge"))  # fmt: skip
    assert np.isnan(stamps.flux[0]).sum() == 3 * (31**2 - (21 + 2 * rim_px) ** 2)
    assert stamps.valid_fraction[0] == pytest.approx((21 + 2 * rim_px) ** 2 / 31**2)


# ---- how a frame is spelled


def test_bands_are_spelled_with_or_without_hdus():
    assert read_bands("i, r,g") == (("i", "r", "g"), {})
    assert read_bands("i=HSC_I,g=3") == (("i", "g"), {"i": "HSC_I", "g": 3})
    for wrong in ("", "i,,g", "i,i", "i=,g=2", "i=1,g", "../x"):
        with pytest.raises(ConfigError, match="bands "):
            read_bands(wrong)


def test_a_position_is_two_numbers():
    assert read_position("99.3, 102.7") == (99.3, 102.7)
    for wrong in ("", "1", "1,2,3", "a,b", "-1,2", "nan,1", "inf,1"):
        with pytest.raises(ConfigError, match="no position in pixels"):
            read_position(wrong)
