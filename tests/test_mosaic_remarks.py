"""What files lack is said, before the mosaic is made and by the store."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from survey_classifier.cli.terminal import app
from survey_classifier.errors import MosaicError
from survey_classifier.mosaic.exposure import MosaicInput
from survey_classifier.mosaic.ingest import ingest_mosaics
from survey_classifier.mosaic.mosaic_settings import MosaicSettings
from survey_classifier.mosaic.planning import plan_ingests, plan_or_open
from survey_classifier.mosaic.remarks import remarks
from survey_classifier.mosaic.store import Mosaic
from tests.test_mosaic_euclid import SHAPE, mer_name, write_mer
from tests.test_mosaic_hsc import SMALL, write

TILES = [f"TILE10200000{number}" for number in range(5)]


def mer_tiles(folder, lacking, store="field.zarr"):
    """Five tiles on one grid, of which some lack a file."""
    for tile in TILES:
        write_mer(folder, tile=tile)
        for kind, dtype in (("RMS", np.float32), ("FLAG", np.int32)):
            if tile not in lacking.get(kind, ()):
                write_mer(folder, kind, np.ones(SHAPE, dtype) * 64, tile=tile)
    entry = MosaicInput(reader="euclid-mer", path=mer_name("BGSUB", tile="TILE*"), band="VIS")
    return MosaicSettings(store=store, inputs=(entry,))


@pytest.mark.parametrize(
    ("lacking", "lines", "flags"),
    [
        ({}, [], (True, False, True)),
        (
            {"RMS": TILES[1:2]},
            ["band VIS: 1 of 5 files without an RMS file beside it (the variance is not known): 1"],
            (True, True, True),
        ),
        (
            {"RMS": TILES, "FLAG": TILES[1:3]},
            [
                "band VIS: 5 of 5 files without an RMS file beside it (the variance is not known): "
                "0, 1, 2, ...",
                "band VIS: 2 of 5 files without a FLAG file beside it "
                "(saturated and bad pixels are not known): 1, 2",
            ],
            (False, False, True),
        ),
        (
            {"FLAG": TILES},
            [
                "band VIS: 5 of 5 files without a FLAG file beside it "
                "(saturated and bad pixels are not known): 0, 1, 2, ...",
            ],
            (True, False, False),
        ),
    ],
)
def test_files_that_lack_others_are_named(tmp_path, lacking, lines, flags):
    settings = mer_tiles(tmp_path, lacking)
    said = remarks(plan_ingests(settings, tmp_path))
    for number, tile in enumerate(TILES):
        said = [line.replace(mer_name("BGSUB", tile=tile), str(number)) for line in said]
    assert said == lines
    (mosaic,) = ingest_mosaics(settings, tmp_path)
    band = mosaic.bands[0]
    assert (band.has_variance, band.variance_in_part, band.has_mask) == flags
    assert remarks(plan_or_open(settings, tmp_path)) == ()  # it is made, and inspect says it


def test_a_survey_of_many_stores_has_a_line_for_all_of_them(tmp_path):
    settings = mer_tiles(tmp_path, {"RMS": TILES[:2]})
    entry = settings.inputs[0].model_copy(update={"path": mer_name("BGSUB", tile="TILE{t}")})
    each = settings.model_copy(update={"store": "{t}.zarr", "inputs": (entry,)})
    (line,) = remarks(plan_ingests(each, tmp_path))
    assert line.startswith("band VIS: 2 of 5 files without an RMS file")


def test_flags_of_other_telescopes_are_not_said_to_be_missing(tmp_path):
    write_mer(tmp_path, band="DES-G")
    write_mer(tmp_path, "FLAG", np.ones(SHAPE, np.int32), band="DES-G")
    entry = MosaicInput(reader="euclid-mer", path=mer_name("BGSUB", band="DES-G"), band="g")
    settings = MosaicSettings(store="g.zarr", inputs=(entry,))
    _, flags = remarks(plan_ingests(settings, tmp_path))
    assert flags.startswith("band g: 1 of 1 file without flags by Euclid's own table (saturated")


def test_the_terminal_says_it(tmp_path):
    settings = mer_tiles(tmp_path, {"RMS": TILES[:1]})
    run = tmp_path / "run.toml"
    entry = settings.inputs[0]
    run.write_text(
        'name = "field"\nout = "out"\n[model]\ncheckpoint = "none"\n[sources]\n'
        'path = "none.csv"\n[mosaic]\nstore = "field.zarr"\n'
        f'[[mosaic.inputs]]\nreader = "euclid-mer"\npath = "{entry.path}"\nband = "VIS"\n'
    )
    result = CliRunner().invoke(app, ["ingest", str(run)])
    assert result.exit_code == 0, result.output
    assert "band VIS: 1 of 5 files without an RMS file" in result.stderr
    again = CliRunner().invoke(app, ["ingest", str(run)])
    assert "RMS" not in again.stderr


def test_a_store_of_a_former_version_is_taken_to_have_masks(tmp_path):
    settings = mer_tiles(tmp_path, {"FLAG": TILES})
    (mosaic,) = ingest_mosaics(settings, tmp_path)
    assert not mosaic.bands[0].has_mask
    path = tmp_path / "field.zarr" / "zarr.json"
    about = json.loads(path.read_text())
    (bands,) = [group["bands"] for group in about["attributes"].values() if "bands" in group]
    for key in ("has_mask", "variance_in_part"):
        del bands[0][key]
    path.write_text(json.dumps(about))
    band = Mosaic.open(tmp_path / "field.zarr").bands[0]
    assert (band.has_variance, band.variance_in_part, band.has_mask) == (True, False, True)


def test_a_copy_of_a_patch_under_another_name_is_not_blended_in(tmp_path):
    write(tmp_path / "calexp-HSC-G-15549-3,5.fits", column=3, row=5)
    write(tmp_path / "calexp-HSC-G-15549-4,5.fits", column=4, row=5)
    sizes = {"patch_inner_px": SMALL.inner_px, "patch_border_px": SMALL.border_px}
    entry = MosaicInput(reader="hsc", path="*.fits", band="g", **sizes)
    settings = MosaicSettings(store="field.zarr", inputs=(entry,))
    (plan,) = plan_ingests(settings, tmp_path)
    assert remarks([plan]) == ()
    write(tmp_path / "copy.fits", column=3, row=5)
    with pytest.raises(MosaicError, match=r"calexp-HSC-G-15549-3,5.fits and .*copy.fits are both"):
        plan_ingests(settings, tmp_path)
    (tmp_path / "copy.fits").unlink()
    # A cut-out of the same tract may be meant; it is said how it is taken.
    write(tmp_path / "cutout.fits", box=SMALL.inner(3, 5))
    (line,) = remarks(plan_ingests(settings, tmp_path))
    assert line.startswith("band g: 1 of 3 files without a patch of the sky map (in overlaps ")
    assert line.endswith(": cutout.fits")
