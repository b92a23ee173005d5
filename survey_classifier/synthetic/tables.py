"""What lies beside simulated survey files: tables of sources, their truth, and a run file.

Owns which tables are written and the keys of the run file. Does not own the columns that an
observer writes down (``listing``), nor the image files.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tomli_w

from survey_classifier.model.checkpoint import read_card
from survey_classifier.model.shipped import resolve_checkpoint
from survey_classifier.synthetic.folder import write_csv
from survey_classifier.synthetic.listing import redshift_table, source_table, truth_table
from survey_classifier.synthetic.passbands import Passband
from survey_classifier.synthetic.sky import Sky

__all__ = ["Input", "run_file", "write_tables"]

CHECKPOINT = "perseus-synthetic"
Input = Mapping[str, str | int | float]
"""Keys and values of one ``[[mosaic.inputs]]`` table."""


def write_tables(
    folder: Path, rng: np.random.Generator, sky: Sky, bands: Sequence[Passband]
) -> None:
    """Write ``sources.csv``, ``redshifts.csv`` and ``truth.csv``.

    The truth has a column ``flux_<band>_njy`` for each band: the total flux behind the dust.

    Parameters
    ----------
    folder
        Where to.
    rng
        Source of what an observer gets wrong.
    sky
        What is observed.
    bands
        Of the images.
    """
    write_csv(folder / "sources.csv", source_table(rng, sky.listed))
    write_csv(folder / "redshifts.csv", redshift_table(rng, sky.listed))
    truth = dict(truth_table(sky.listed))
    # Those are on the grid that the sky was drawn on, which is no file's.
    del truth["x_px"], truth["y_px"]
    for band in bands:
        truth[f"flux_{band.name}_njy"] = [f"{flux:.7g}" for flux in sky.flux_njy(band).tolist()]
    write_csv(folder / "truth.csv", truth)


def run_file(
    survey: str,
    store: str,
    inputs: Sequence[Input],
    seed: int,
    scale_arcsec: float | None = None,
) -> str:
    """Return a run file (TOML) for simulated survey files.

    Parameters
    ----------
    survey
        What the files are like.
    store
        Key ``mosaic.store``.
    inputs
        The ``[[mosaic.inputs]]`` tables.
    seed
        What they were simulated with.
    scale_arcsec
        Key ``mosaic.scale_arcsec``, None to leave it out.
    """
    scale = {} if scale_arcsec is None else {"scale_arcsec": scale_arcsec}
    content = {
        "name": f"simulated-{survey}",
        "out": "out",
        "mosaic": {"store": store, **scale, "inputs": inputs},
        "sources": {
            "path": "sources.csv",
            "columns": {
                "id": "source_id", "ra": "ra", "dec": "dec", "ebv": "ebv",
                "mag": {name: name for name in ("g", "r", "i", "z")},
            },
            "system": "sdss",
        },
        "redshifts": {
            "path": "redshifts.csv",
            "columns": {
                "id": "object_id", "ra": "ra", "dec": "dec", "z": "z", "z_err": "z_err",
                "z_warning": "z_warning", "spec_class": "spec_class",
            },
        },
        "model": {"checkpoint": CHECKPOINT},
        "tiles": {"size_px": 1024},
        "truth": {"path": "truth.csv", "simulated": True},
    }  # fmt: skip
    head = f"# Files as of {survey} (seed {seed}), all simulated: no object in them is real.\n"
    needed = read_card(resolve_checkpoint(CHECKPOINT, Path())).bands
    if {entry["band"] for entry in inputs} != set(needed):
        head += (
            "# For ingest, inspect and detect only: no shipped checkpoint is for these bands, and\n"
            f"# {CHECKPOINT} stands below as there must be one. To classify, train another.\n"
        )
    return head + tomli_w.dumps(content)
