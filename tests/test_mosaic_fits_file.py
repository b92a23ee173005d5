"""Opening FITS files: windows, compressed files, and what is wrong with a file."""

import bz2
import gzip
import lzma
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.readers import fits_file, unpack
from survey_classifier.mosaic.readers.fits_file import (
    find_image,
    image_shape,
    opened,
    opened_to_describe,
    sampled_digest,
)
from survey_classifier.mosaic.readers.section import section, section_of
from survey_classifier.mosaic.readers.unpack import byte_stream

SHAPE = (60, 70)
SECTION = "survey_classifier.mosaic.readers.section"


def image(dtype=np.float32):
    return np.random.default_rng(5).normal(scale=100, size=SHAPE).astype(dtype)


def scaled(pixels, **cards):
    hdu = fits.ImageHDU(pixels)
    hdu.header.update(cards)
    return hdu


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory):
    """A file with an image of every way to store one."""
    path = tmp_path_factory.mktemp("kinds") / "kinds.fits"
    whole = image(np.int16)
    hdus = [fits.PrimaryHDU(image())]
    hdus += [fits.ImageHDU(image(kind)) for kind in ("u1", "i2", "u2", "i4", "u4", "i8", "f8")]
    hdus += [fits.CompImageHDU(image(), compression_type="RICE_1", quantize_level=16)]
    hdus += [fits.CompImageHDU(image(), compression_type="GZIP_2", quantize_level=0)]
    hdus += [fits.CompImageHDU(whole, compression_type="RICE_1", tile_shape=(16, 16))]
    hdus += [fits.CompImageHDU(whole, compression_type="HCOMPRESS_1", tile_shape=(16, 16))]
    hdus += [fits.CompImageHDU(whole.astype(np.int32), compression_type="GZIP_1")]
    fits.HDUList(hdus).writeto(path)
    with fits.open(path, mode="append", do_not_scale_image_data=True) as file:
        file.append(scaled(whole, BSCALE=0.25, BZERO=3.0, BLANK=int(whole[0, 0])))
        file.append(scaled(whole, BLANK=int(whole[0, 0])))
    return path


N_KINDS = 15


@given(
    kind=st.integers(0, N_KINDS - 1),
    y=st.tuples(st.integers(0, SHAPE[0] - 1), st.integers(1, SHAPE[0])),
    x=st.tuples(st.integers(0, SHAPE[1] - 1), st.integers(1, SHAPE[1])),
)
def test_a_section_is_the_window_of_the_whole(every_kind, kind, y, x):
    box = Box(y[0], min(y[0] + y[1], SHAPE[0]), x[0], min(x[0] + x[1], SHAPE[1]))
    with fits.open(every_kind, memmap=False) as hdus:
        assert len(hdus) == N_KINDS
        expected = hdus[kind].data[box.slices]
    with opened(every_kind) as hdus:
        found = section(hdus[kind], box)
    assert found.dtype.isnative
    assert found.dtype == expected.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("strip_bytes", [1, 1000, 2**20])
@pytest.mark.parametrize("max_gap_bytes", [0, 2**15])
@pytest.mark.parametrize(
    "box", [Box(0, 60, 0, 70), Box(7, 60, 11, 12), Box(3, 30, 20, 70)], ids=str
)
def test_how_many_rows_are_read_at_once_makes_no_difference(
    plain, monkeypatch, box, strip_bytes, max_gap_bytes
):
    monkeypatch.setattr(f"{SECTION}.STRIP_BYTES", strip_bytes)
    monkeypatch.setattr(f"{SECTION}.MAX_GAP_BYTES", max_gap_bytes)
    with opened(plain) as hdus:
        np.testing.assert_array_equal(section(hdus[0], box), image()[box.slices])
    with opened(plain) as hdus:
        os.truncate(plain, hdus[0].fileinfo()["datLoc"] + 4 * (70 * 27 + box.x0))
        with pytest.raises(OSError, match="within row 27 of"):
            section(hdus[0], box)


def pack_zip(path, content):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image.fits", content)


def pack_with(module):
    return lambda path, content: path.write_bytes(module.compress(content))


PACKERS = {
    "gz": pack_with(gzip),
    "bz2": pack_with(bz2),
    "xz": pack_with(lzma),
    "zip": pack_zip,
}


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "image.fits"
    hdus = [fits.PrimaryHDU(image()), fits.ImageHDU(image(np.int32), name="MASK")]
    fits.HDUList(hdus).writeto(path, checksum=True)
    return path


def packed_as(kind, plain):
    path = plain.with_name(f"packed.{kind}")
    PACKERS[kind](path, plain.read_bytes())
    return path


@pytest.mark.parametrize("kind", PACKERS)
def test_a_compressed_file_is_read_like_a_plain_one(plain, kind):
    """Also by its content, not its name."""
    path = packed_as(kind, plain).rename(plain.with_name("nameless"))
    with opened_to_describe(path) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "MASK"]
        np.testing.assert_array_equal(section(hdus[0], Box(3, 9, 5, 11)), image()[3:9, 5:11])
        np.testing.assert_array_equal(hdus["MASK"].data, image(np.int32))


def test_one_stream_of_an_unpacked_file_does_not_move_another(plain):
    content = plain.read_bytes()
    with byte_stream(packed_as("gz", plain)) as first, byte_stream(packed_as("gz", plain)) as other:
        other.seek(1000)
        assert first.read(10) == content[:10]
        assert other.read(10) == content[1000:1010]
        assert first.seek(-5, os.SEEK_END) == len(content) - 5
        assert first.read() == content[-5:]
        assert first.seek(3, os.SEEK_CUR) == len(content) + 3
        assert first.read() == b""


@pytest.fixture
def n_unpacked(monkeypatch):
    """The files that were unpacked, in order."""
    names, real = [], unpack._unpack
    monkeypatch.setattr(unpack, "_unpack", lambda path: (names.append(path.name), real(path))[1])
    monkeypatch.setattr(unpack, "_KEPT", unpack._Kept())
    return names


def test_threads_share_one_unpacking(plain, n_unpacked):
    path, content = packed_as("bz2", plain), plain.read_bytes()
    start, right = threading.Barrier(8), []

    def read(offset):
        start.wait()
        with byte_stream(path) as stream:
            stream.seek(offset)
            right.append(stream.read(2000) == content[offset : offset + 2000])

    threads = [threading.Thread(target=read, args=(n * 1000,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 8
    assert n_unpacked == ["packed.bz2"]


def test_a_replaced_file_is_unpacked_again(plain, n_unpacked):
    path = packed_as("gz", plain)
    with byte_stream(path) as stream:
        assert stream.read() == plain.read_bytes()
    path.write_bytes(gzip.compress(b"another"))
    with byte_stream(path) as stream:
        assert stream.read() == b"another"
    assert len(n_unpacked) == 2


def test_scratch_files_are_dropped_when_others_are_used(tmp_path, monkeypatch, n_unpacked):
    """The room of a dropped one is free when its last reader is done, not before."""
    monkeypatch.setattr(unpack, "SCRATCH_BYTES", 2500)
    paths = [tmp_path / f"{name}.gz" for name in "abc"]
    for path in paths:
        path.write_bytes(gzip.compress(path.name.encode() * 250))  # 1000 bytes

    def n_open():
        targets = [str(link.resolve()) for link in Path("/proc/self/fd").iterdir()]
        return sum("deleted" in target or "/#" in target for target in targets)

    before = n_open()
    with byte_stream(paths[0]) as held:
        for path in (*paths[1:], paths[2], paths[1]):
            with byte_stream(path) as stream:
                assert stream.read() == path.name.encode() * 250
        assert n_unpacked == ["a.gz", "b.gz", "c.gz"]
        assert n_open() - before == 3
        assert held.read() == b"a.gz" * 250
    del held
    assert n_open() - before == 2
    with byte_stream(paths[0]) as again:
        assert again.read() == b"a.gz" * 250
    assert n_unpacked == ["a.gz", "b.gz", "c.gz", "a.gz"]


def test_nothing_is_left_in_the_scratch_folder(tmp_path):
    """Not even by a process that is killed; and unpacking takes little memory."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    big = tmp_path / "big.gz"
    with gzip.open(big, "wb", compresslevel=1) as stream:
        for _ in range(200):
            stream.write(bytes(2**20))
    code = (
        "import os, pathlib, resource, signal, sys\n"
        "from survey_classifier.mosaic.readers.unpack import byte_stream\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "with byte_stream(pathlib.Path(sys.argv[1])) as stream:\n"
        "    size = stream.seek(0, 2)\n"
        "    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    print(size, after - before, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(big)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TMPDIR": str(scratch)},
    )
    assert done.returncode < 0, done.stderr
    size, growth_kib = map(int, done.stdout.split())
    assert size == 200 * 2**20
    assert growth_kib < 30 * 1024
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("kind", PACKERS)
def test_a_compressed_file_that_is_cut_short(plain, kind):
    path = packed_as(kind, plain)
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size * 2 // 3)
    for _ in range(2):  # a failure is not kept
        with pytest.raises(MosaicError, match=r"packed.*fetch it again"), opened(path):
            pass


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zip"])
def test_a_compressed_file_that_is_damaged(plain, kind):
    path = packed_as(kind, plain)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(MosaicError, match=r"^cannot unpack .*fetch it again$"), opened(path):
        pass


def test_a_truncated_image_within_a_compressed_file(plain):
    """Each byte arrived, but it was packed too early."""
    path = plain.with_name("short.gz")
    path.write_bytes(gzip.compress(plain.read_bytes()[:-2880]))
    with pytest.raises(MosaicError, match="truncated"), opened_to_describe(path):
        pass


def test_an_archive_of_several_files_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.fits", b"a")
        archive.writestr("b.fits", b"b")
    with pytest.raises(MosaicError, match="holds 2 files"), opened(tmp_path / "two.zip"):
        pass


def test_no_room_to_unpack(plain):
    """A full disk, here as a limit on the size of files."""
    path = packed_as("gz", plain)
    code = (
        "import pathlib, resource, signal, sys\n"
        "from survey_classifier.mosaic.readers.fits_file import opened\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "with opened(pathlib.Path(sys.argv[1])):\n"
        "    pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    last = done.stderr.splitlines()[-1]
    assert "MosaicError: no room to unpack" in last
    assert "TMPDIR" in last


def test_a_file_that_ends_within_a_window(plain):
    """It was whole when it was described."""
    with opened(plain) as hdus:
        os.truncate(plain, hdus[0].fileinfo()["datLoc"] + 4 * 70 * 30)
        np.testing.assert_array_equal(section(hdus[0], Box(0, 30, 0, 70)), image()[:30])
        with pytest.raises(OSError, match="within row 30"):
            section(hdus[0], Box(20, 40, 0, 70))


@pytest.mark.parametrize(
    "later",
    [
        None,
        fits.ImageHDU(),
        fits.ImageHDU(image().ravel()),
        fits.ImageHDU(image()[:, :-1]),
        fits.ImageHDU(np.stack([image(), image()])),
        fits.CompImageHDU(image()[:50]),
        fits.BinTableHDU.from_columns([fits.Column("x", "D", array=[1.0])]),
    ],
    ids=["gone", "empty", "row", "narrower", "cube", "compressed", "table"],
)
def test_an_image_that_became_another_after_it_was_described(tmp_path, later):
    path = tmp_path / "g.fits"
    fits.HDUList([fits.PrimaryHDU(), *([] if later is None else [later])]).writeto(path)
    message = r"^HDU 1 of .*g\.fits is no image of 70 x 60 px any more.*fetch it again$"
    with opened(path) as hdus, pytest.raises(MosaicError, match=message):
        section_of(hdus, 1, Box(0, 9, 0, 9), SHAPE, path)


def test_a_kind_of_number_that_there_is_not(tmp_path):
    path = tmp_path / "g.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image())]).writeto(path)
    card = b"BITPIX  =                  "
    path.write_bytes(path.read_bytes().replace(card + b"-32", card + b"-30"))
    message = r"^cannot read .*g\.fits as FITS: BITPIX = -30 .*fetch it again$"
    with pytest.raises(MosaicError, match=message), opened(path) as hdus:
        section_of(hdus, 1, Box(0, 9, 0, 9), SHAPE, path)


def test_an_hdu_that_is_an_image_by_its_name_only(tmp_path):
    """Of what astropy does not understand it has a stand-in, here one that says it is an image."""
    path = tmp_path / "g.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image(), name="PRIMARY")]).writeto(path)
    path.write_bytes(path.read_bytes().replace(b"XTENSION= 'IMAGE   '", b"XTENSION= 'IMAGA   '"))
    with opened(path) as hdus:
        assert hdus[1].is_image
        assert not hasattr(hdus[1], "shape")
        assert image_shape(hdus[1]) is None
        with pytest.raises(MosaicError, match=r"HDU 1 of .* is no image of 70 x 60 px"):
            section_of(hdus, 1, Box(0, 9, 0, 9), SHAPE, path)
        with pytest.raises(MosaicError, match="no two-dimensional image"):
            find_image(hdus, None, path)


@pytest.mark.parametrize("error", [ValueError, TypeError, KeyError, IndexError, UserWarning])
def test_a_fault_of_the_caller_is_not_blamed_on_the_file(plain, error):
    with pytest.raises(error, match="ours"), opened_to_describe(plain):
        raise error("ours")


def test_a_header_that_astropy_cannot_use(tmp_path):
    """It stumbles over the card only when the image is asked for."""
    path = tmp_path / "g.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(image())]).writeto(path)
    path.write_bytes(path.read_bytes().replace(b"ZNAXIS1 ", b"ZNAXISX "))
    message = r"^cannot read .*g\.fits as FITS.*fetch it again$"
    with pytest.raises(MosaicError, match=message), opened(path) as hdus:
        section(hdus[1], Box(0, 9, 0, 9))


@pytest.mark.filterwarnings("ignore:Error validating header")
def test_an_hdu_whose_header_was_damaged_later(plain):
    """Astropy warns and leaves it out, so that there is none of that number."""
    content, card = plain.read_bytes(), b"BITPIX  =                   "
    assert content.count(card + b"32") == 1  # the other image is of floats
    plain.write_bytes(content.replace(card + b"32", card + b"3x"))
    message = r"^cannot read .*image\.fits as FITS.*fetch it again$"
    with pytest.raises(MosaicError, match=message), opened(plain) as hdus:
        section(hdus[1], Box(0, 9, 0, 9))


@pytest.mark.parametrize("kind", [None, *PACKERS])
def test_the_digest_is_that_of_size_samples_and_headers(plain, monkeypatch, kind):
    """Of a compressed file, of the headers within."""
    monkeypatch.setattr(fits_file, "SAMPLE_BYTES", 1)  # so that the samples miss the header
    packed = plain if kind is None else packed_as(kind, plain)
    before = sampled_digest(packed)
    assert sampled_digest(packed) == before
    content = plain.read_bytes()
    assert content.count(b"'MASK    '") == 1
    plain.write_bytes(content.replace(b"'MASK    '", b"'MASQ    '"))
    again = plain if kind is None else packed_as(kind, plain)
    assert sampled_digest(again) != before


@pytest.mark.parametrize("content", [b"", b"SIMPLE", b"no image at all" * 400])
def test_what_is_no_fits_file(tmp_path, content):
    path = tmp_path / "g.fits"
    path.write_bytes(content)
    message = r"cannot read .*g\.fits as FITS.*fetch it again$"
    with pytest.raises(MosaicError, match=message), opened_to_describe(path):
        pass


@pytest.mark.parametrize("compression", ["RICE_1", "GZIP_2", "HCOMPRESS_1"])
def test_a_damaged_tile_of_a_compressed_image(tmp_path, compression):
    path = tmp_path / "g.fits.fz"
    hdu = fits.CompImageHDU(image(), compression_type=compression, tile_shape=(20, 70))
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    with fits.open(path) as hdus:
        info = hdus[1].fileinfo()
    with path.open("r+b") as stream:
        stream.seek(info["datLoc"] + info["datSpan"] * 3 // 10)
        stream.write(b"\xff" * 400)
    with pytest.raises(MosaicError, match=r"cannot read .*g\.fits\.fz"), opened(path) as hdus:
        section(hdus[1], Box(0, 60, 0, 70))


@pytest.mark.parametrize("compression", [None, "RICE_1"])
def test_a_window_takes_the_memory_of_a_window(tmp_path, compression):
    """Of an image of 256 MiB; the compressed one has one tile a row."""
    path = tmp_path / "big.fits"
    rows = np.random.default_rng(1).normal(size=(64, 8192)).astype(np.float32)
    if compression is None:
        header = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 2)])
        header.update({"NAXIS1": 8192, "NAXIS2": 8192})
        with path.open("wb") as stream:
            stream.write(header.tostring().encode())
            for _ in range(128):
                stream.write(rows.astype(">f4").tobytes())
            stream.write(bytes(-(8192 * 8192 * 4) % 2880))
    else:
        # Zeros pack fast; what is asked of memory is the same.
        hdu = fits.CompImageHDU(np.zeros((8192, 8192), np.float32), compression_type=compression)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    code = (
        "import pathlib, resource, sys\n"
        "from survey_classifier.geometry import Box\n"
        "from survey_classifier.mosaic.readers.fits_file import opened\n"
        "from survey_classifier.mosaic.readers.section import section\n"
        "with opened(pathlib.Path(sys.argv[1])) as hdus:\n"
        "    hdu = hdus[int(sys.argv[2])]\n"
        "    section(hdu, Box(0, 8, 0, 8))\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    section(hdu, Box(3000, 4024, 3000, 4024))\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), "0" if compression is None else "1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 32 * 1024  # KiB; the window has 4 MiB
