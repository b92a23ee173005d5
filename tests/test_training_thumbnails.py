"""Thumbnails: where the source ends up."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from survey_classifier.errors import SourcesError
from survey_classifier.sources.formats import read_table
from survey_classifier.training.recipes import read_recipe
from survey_classifier.training.thumbnails import (
    ThumbnailFrame,
    read_thumbnails,
    thumbnails_digest,
)

REPOSITORY = Path(__file__).parents[1]
FRAME = ThumbnailFrame(("i", "r", "g"), 0.1, (11.3, 5.7))


def png(seed: int = 0, shape: tuple[int, ...] = (30, 20, 3)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "thumbs"
    folder.mkdir()
    for seed, name in enumerate(("a.png", "b.png")):
        (folder / name).write_bytes(png(seed))
    return folder


@pytest.fixture
def archive(folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "thumbs.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("a.png", "b.png"):
            file.write(folder / name, name)
    return path


@pytest.mark.parametrize("size_px", [9, 25, 61])
def test_the_source_is_in_the_middle_and_up_is_up(folder: Path, size_px: int) -> None:
    stamps = read_thumbnails(folder, ["b.png", "a.png"], FRAME, size_px)
    pixels = np.asarray(Image.open(folder / "b.png")).astype(np.float32)
    half = size_px // 2
    for dy in (-half, -2, 0, 3, half):  # upward
        for dx in (-half, -1, 0, 4, half):
            # x 11.3 is pixel 11; y 5.7 from the top is 23.3 from the bottom: row 23, or 6 down.
            row, col = 6 - dy, 11 + dx
            got = stamps.flux[0, :, half + dy, half + dx]
            if 0 <= row < 30 and 0 <= col < 20:
                np.testing.assert_array_equal(got, pixels[row, col])
            else:
                assert np.isnan(got).all()
    np.testing.assert_allclose(stamps.offset_px, [[0.3, 0.3]] * 2, atol=1e-6)
    assert stamps.center_valid.all()
    assert not stamps.sticks_out.any()
    assert stamps.scale_arcsec == 0.1
    valid = np.isfinite(stamps.flux).all(axis=1).mean(axis=(1, 2))
    np.testing.assert_allclose(stamps.valid_fraction, valid, rtol=1e-6)


def test_a_zip_is_as_good_as_a_folder(folder: Path, archive: Path) -> None:
    names = ["a.png", "b.png"]
    from_zip = read_thumbnails(archive, names, FRAME, 25)
    np.testing.assert_array_equal(from_zip.flux, read_thumbnails(folder, names, FRAME, 25).flux)
    assert thumbnails_digest(archive, names) == thumbnails_digest(folder, names[::-1])
    (folder / "a.png").write_bytes(png(7))
    assert thumbnails_digest(archive, names) != thumbnails_digest(folder, names)


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_all_that_are_not_there_are_counted_at_once(
    kind: str, request: pytest.FixtureRequest
) -> None:
    names = ["a.png", "c.png", "b.png", "d.png"]
    with pytest.raises(SourcesError, match=r"2 of 4 images .* are not in .*, 'c\.png' first; corr"):
        read_thumbnails(request.getfixturevalue(kind), names, FRAME, 9)


def test_stars_are_where_the_recipe_says(real_data: Path) -> None:
    """The real thumbnails' objects are not in the middle; the shipped recipe says where."""
    recipe = read_recipe(REPOSITORY / "deploy" / "recipes" / "perseus-sdss.toml")
    settings = next(data.thumbnails for data in recipe.data if data.thumbnails is not None)
    archive = real_data / "perseus" / "spec_thumbs_dev.zip"
    table = read_table(real_data / "perseus" / "sdss_spectra_dev.csv", ["z_class", "thumb"])
    is_star = table.text("z_class") == "star"
    names = sorted(set(table.text("thumb")[is_star]) - {""})
    frame = ThumbnailFrame(settings.planes, settings.scale_arcsec, settings.source_px)
    stamps = read_thumbnails(archive, names, frame, 41)
    light = stamps.flux.sum(axis=1)
    light = np.where(light > light.max(axis=(1, 2), keepdims=True) / 2, light, 0)
    axis = np.arange(41) - 20
    x = (light.sum(axis=1) * axis).sum(axis=1) / light.sum(axis=(1, 2)) - stamps.offset_px[:, 0]
    y = (light.sum(axis=2) * axis).sum(axis=1) / light.sum(axis=(1, 2)) - stamps.offset_px[:, 1]
    assert len(names) == 25
    assert abs(np.median(x)) < 0.5  # of 0.1 arcsec
    assert abs(np.median(y)) < 0.5
