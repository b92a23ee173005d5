"""Stores whose files were lost or changed: what is seen, where, by whom, and what mends them."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import zarr

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic import blueprint, damage, shards, writer
from survey_classifier.mosaic.damage import Damage, damages
from survey_classifier.mosaic.inspect import open_as_it_is
from survey_classifier.mosaic.pyramid import N_LEVELS
from survey_classifier.mosaic.schema import ATTRIBUTE
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.mosaic.writer import MosaicWriter
from tests.test_mosaic_store import LAYOUT, planned, some_pixels, window_of, write
from tests.test_stamps import tan_wcs

SHARD = Box(0, 512, 512, 530)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    for module in (writer, blueprint, damage):
        monkeypatch.setattr(module, "SHARD_PX", 512)
    monkeypatch.setattr(blueprint, "CHUNK_PX", 64)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished store, not to be changed."""
    path = tmp_path_factory.mktemp("whole") / "m.zarr"
    with pytest.MonkeyPatch.context() as patch:
        for module in (writer, blueprint, damage):
            patch.setattr(module, "SHARD_PX", 512)
        patch.setattr(blueprint, "CHUNK_PX", 64)
        write(path, some_pixels()).finish()
    return path


@pytest.fixture
def store(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "m.zarr")


def cut_off(file):
    file.write_bytes(file.read_bytes()[:-1000])


def emptied(file):
    file.write_bytes(b"")


def zeroed(file):
    file.write_bytes(bytes(file.stat().st_size))


def one_bit_flipped(file):
    """In the middle of the pixels, where there is no checksum."""
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 16
    file.write_bytes(content)


def of_another_shard(file):
    shutil.copy(file.parent.parent / "0" / "0", file)


HARMS = [cut_off, emptied, zeroed, one_bit_flipped, of_another_shard]


def found(path):
    return list(damages(open_as_it_is(path, whole=False)))


def test_a_sound_store_has_no_damage(store, tmp_path):
    assert found(store) == []
    seen = []
    assert not list(damages(Mosaic.open(store), lambda done, total: seen.append((done, total))))
    assert seen == [(number, 8) for number in range(1, 9)]
    write(tmp_path / "q.zarr", some_pixels(), layout=replace(LAYOUT, quantize=16)).finish()
    assert found(tmp_path / "q.zarr") == []
    write(tmp_path / "part.zarr", some_pixels(), n_shards=3)
    assert found(tmp_path / "part.zarr") == []


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("plane", ["flux", "mask", "variance"])
@pytest.mark.parametrize("level", [0, 3])
def test_every_harm_is_found_and_mended(store, harm, plane, level):
    """The files that are named are removed, and the next ingest makes just their shard."""
    digest = Mosaic.open(store).digest
    harm(store / f"g/{level}/{plane}/c/1/0")
    if harm is of_another_shard:
        harm(store / f"g/{level}/{plane}/c/1/0")
    (damage,) = found(store)
    assert isinstance(damage, Damage)
    assert f"g/{level}/{plane}/c/1/0" in damage.files
    assert (damage.band, damage.box) == ("g", Box(512, 700, 0, 512))
    for file in damage.files:
        (store / file).unlink()
    again = MosaicWriter.open_or_create(store, LAYOUT)
    assert list(again.pending(planned(again))) == [("g", Box(512, 700, 0, 512))]
    assert write(store, some_pixels()).finish().digest == digest
    assert found(store) == []


@pytest.mark.parametrize("harm", HARMS[:3])
def test_who_reads_what_is_damaged_is_told_where_it_is(store, harm):
    """Never a hole in the sky, and never a traceback."""
    harm(store / "g/0/flux/c/0/1")
    mosaic = Mosaic.open(store)
    with pytest.raises(MosaicError) as raised:
        mosaic.read(SHARD, ("i", "g"))
    line = str(raised.value)
    assert line.startswith(f"cannot read band g, level 0, flux in {SHARD} of {store}: ")
    assert "inspect --check" in line
    assert "\n" not in line


@pytest.mark.parametrize("plane", ["flux", "mask", "variance"])
@pytest.mark.parametrize("level", range(N_LEVELS))
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.999, 1.0])
def test_a_file_that_was_cut_off_is_made_again(store, plane, level, kept):
    """By the ingest itself, nothing is to be removed; also where the end is there, but as zeros."""
    digest = Mosaic.open(store).digest
    file = store / f"g/{level}/{plane}/c/1/0"
    whole = file.read_bytes()
    left = whole[: int(kept * len(whole))] if kept < 1 else whole[:-4] + bytes(4)
    for content in (left, left.ljust(len(whole), b"\0")):
        file.write_bytes(content)
        again = MosaicWriter.open_or_create(store, LAYOUT)
        assert list(again.pending(planned(again))) == [("g", Box(512, 700, 0, 512))]
        assert write(store, some_pixels()).finish().digest == digest
        assert file.read_bytes() == whole
    assert found(store) == []


def test_the_check_of_ends_takes_no_sound_file_for_one_that_was_cut_off(store, monkeypatch):
    """Every file of every level is looked at; Zarr's own reader is the judge of what it says."""
    seen, ends = {}, shards._ends_with_index
    monkeypatch.setattr(
        shards, "_ends_with_index", lambda path, n: seen.setdefault(str(path), ends(path, n))
    )
    again = MosaicWriter.open_or_create(store, LAYOUT)
    assert not list(again.pending(planned(again)))
    files = {str(file) for plane in ("flux", "mask", "variance") for file in
             store.glob(f"*/*/{plane}/c/*/*")}  # fmt: skip
    assert set(seen) == files
    assert len(files) == 4 * N_LEVELS * (3 + 2)


def test_a_file_that_is_missing_is_named_and_mended(store):
    digest = Mosaic.open(store).digest
    for file in ("i/2/flux/c/1/0", "i/0/mask/c/0/1"):
        (store / file).unlink()
    with pytest.raises(MosaicError, match=r"lacks i/0/mask/c/0/1.*run the ingest"):
        Mosaic.open(store)
    assert [damage.files for damage in found(store)] == [("i/0/mask/c/0/1",), ("i/2/flux/c/1/0",)]
    assert write(store, some_pixels()).finish().digest == digest


def test_a_shard_of_a_store_that_is_not_finished_is_checked_too(tmp_path):
    write(tmp_path / "m.zarr", some_pixels(), n_shards=3)
    (tmp_path / "m.zarr/g/0/flux/c/0/1").unlink()
    zeroed(tmp_path / "m.zarr/g/1/mask/c/1/0")
    assert [damage.files for damage in found(tmp_path / "m.zarr")] == [
        ("g/0/flux/c/0/1",),
        ("g/1/mask/c/1/0",),
    ]
    again = MosaicWriter.open_or_create(tmp_path / "m.zarr", LAYOUT)
    pending = list(again.pending(planned(again)))
    assert len(pending) == 8 - 3 + 2
    assert {("g", SHARD), ("g", Box(512, 700, 0, 512))} < set(pending)


def test_a_record_that_is_lost_is_named_and_mended(store):
    digest = Mosaic.open(store).digest
    (store / "g/shards/c/1/0/0").unlink()
    (damage,) = found(store)
    assert (damage.files, damage.what) == (("g/shards/c/1/0/0",), "has no record")
    assert write(store, some_pixels()).finish().digest == digest
    assert found(store) == []


def test_a_shard_without_data_has_no_files_that_could_be_missing(store):
    writer = MosaicWriter.open(store)
    box = Box(512, 700, 0, 512)
    writer.write("g", box, None, 8)
    writer.finish()
    assert found(store) == []
    left = store / "g/0/flux/c/1/0"
    shutil.copy(store / "g/0/flux/c/0/0", left)
    (damage,) = found(store)
    assert str(left.relative_to(store)) in damage.files
    assert damage.box == box


def test_records_that_do_not_fit_the_digest(store):
    zarr.open_group(store)["g/digests"][1, 0] += 1
    (damage,) = found(store)
    assert damage.files == ("g/digests/c/0/0",)


def test_a_description_that_does_not_fit_the_digest(store):
    group = zarr.open_group(store)
    about = dict(group.attrs[ATTRIBUTE])
    about["bands"][0]["zero_point"] = 27.5
    group.attrs[ATTRIBUTE] = about
    (damage,) = found(store)
    assert damage.files == ("zarr.json",)


def test_a_store_that_is_described_anew_fits_its_digest(store):
    """Also where the words of its WCS are others, such as the date of the first image."""
    dated = tan_wcs()
    dated.wcs.dateobs = "2024-03-01T00:00:00"
    bands = (LAYOUT.bands[0], replace(LAYOUT.bands[1], psf_fwhm_arcsec=0.6))
    MosaicWriter.open_or_create(store, replace(LAYOUT, bands=bands, wcs=dated))
    assert Mosaic.open(store).bands == bands
    assert found(store) == []


def test_records_that_cannot_be_read_are_one_line(store):
    emptied(store / "g/shards/c/0/0/0")
    for act in (
        lambda: found(store),
        lambda: list(MosaicWriter.open(store).pending({"g": np.zeros((2, 2), np.uint64)})),
    ):
        with pytest.raises(MosaicError, match=f"cannot read the records of band g of {store}"):
            act()


def test_windows_of_this_file_have_variance():
    """Else the tests of its plane could not fail."""
    assert window_of(some_pixels(), "g", SHARD).variance is not None
