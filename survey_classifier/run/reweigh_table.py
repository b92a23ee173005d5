"""Weighing the evidence of any table that holds scores of the image.

Owns which columns of such a table are which observation, and the table that comes out: all its
columns, and ours. Does not own the arithmetic (``membership.weighing``) nor catalogs of our own
(``reweigh``).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import ConfigError, SourcesError
from survey_classifier.files import write_text
from survey_classifier.membership.color import ColorCuts, delta_rs
from survey_classifier.membership.evidence import Weighed
from survey_classifier.membership.extinction import deredden
from survey_classifier.membership.transforms import to_sdss
from survey_classifier.membership.weighing import Weighing
from survey_classifier.problems import nearest_name
from survey_classifier.run.reweigh import (
    Changes,
    Reweighed,
    new_weighing,
    unwritten,
    written_prior,
)
from survey_classifier.sources.cells import RawTable
from survey_classifier.sources.formats import read_table
from survey_classifier.sources.table import MAX_EBV
from survey_classifier.sources.wider import SUFFIXES, widen_table

__all__ = ["OBSERVATIONS", "read_mapping", "reweigh_table"]

Floats = npt.NDArray[np.float64]

OBSERVATIONS = (
    "p_image", "p_image_star", "ra", "dec", "ebv", "r0", "delta_rs", "delta_rs_err", "z", "z_err",
    "z_warning", "point_likeness", "gaia", "p_star",
)  # fmt: skip
"""What a column may be, besides ``mag.BAND`` and ``magerr.BAND``."""
_BAND = re.compile(r"(mag|magerr)\.([A-Za-z]\w*)")
_SHARES = {"p_image", "p_image_star", "point_likeness", "gaia", "p_star"}
_MARKED = {"r0", "delta_rs", "delta_rs_err", "z", "z_err"}
BLOCK_ROWS = 1 << 18


def read_mapping(pairs: Sequence[str]) -> dict[str, str]:
    """Return which column is what, from ``what=column`` pairs, several joined by commas.

    Raises
    ------
    ConfigError
        If one is no such pair, names no observation or one twice, there is no ``p_image``, or only
        one of ``ra`` and ``dec``.
    """
    mapping: dict[str, str] = {}
    for pair in (part for text in pairs for part in text.split(",")):
        what, is_pair, column = (part.strip() for part in pair.partition("="))
        if not is_pair or not what or not column:
            raise ConfigError(f"--columns {pair!r}: give what=column, such as p_image=score")
        if what not in OBSERVATIONS and not _BAND.fullmatch(what):
            known = {*OBSERVATIONS, "mag.g", "mag.r", "mag.z", "magerr.g", "magerr.z"}
            raise ConfigError(f"no observation {what!r}; {nearest_name(what, known)}")
        if what in mapping:
            raise ConfigError(f"--columns says {what} twice: give one column")
        mapping[what] = column
    if "p_image" not in mapping:
        raise ConfigError("--columns lacks the score: give p_image=column")
    if ("ra" in mapping) != ("dec" in mapping):
        raise ConfigError("--columns has one coordinate of a position: give both ra and dec")
    return mapping


def reweigh_table(
    path: Path,
    mapping: Mapping[str, str],
    weighing: Weighing,
    changes: Changes,
    *,
    system: str = "sdss",
    out: Path | None = None,
    overwrite: bool = False,
) -> Reweighed:
    """Weigh the evidence of a table's rows and write it with ``llr_*``, ``p_star``, ``p_member``.

    Parameters
    ----------
    path
        A CSV, FITS, VOTable or Parquet file.
    mapping
        Observation to column, from `read_mapping`. Magnitudes are free of extinction, or ``ebv``
        is given and they are not.
    weighing
        How evidence is weighed; the changes come on top.
    changes
        What is weighed otherwise.
    system
        Photometric system of the magnitudes.
    out
        The new table, CSV or Parquet; by default beside the old one, ``NAME-reweighed``.
    overwrite
        Whether a file that is there may be replaced.

    Raises
    ------
    SourcesError
        If a table cannot be read or written.
    CatalogError
        If the new one is there.
    ConfigError
        If there is no such evidence, prior or system.
    RunError
        If a score is no probability, or a prior cannot be estimated.
    """
    suffix = path.suffix if path.suffix in SUFFIXES else ".parquet"
    target = unwritten(out or path.with_name(f"{path.stem}-reweighed{suffix}"), path, overwrite)
    known = _observed(read_table(path, mapping.values()), mapping, system)
    n = len(known["p_image"])
    blocks = [
        {name: values[start : start + BLOCK_ROWS] for name, values in known.items()}
        for start in range(0, n, BLOCK_ROWS)
    ]
    weighing = new_weighing(weighing, changes, lambda: blocks)
    new = _joined([weighing.weigh(block) for block in blocks])
    extra = {name: known[name].astype(np.float32) for name in ("r0", "delta_rs") if name in known}
    widen_table(path, target, extra | new)
    write_text(target.with_name(f"{target.name}.evidence.json"), weighing.statement)
    return Reweighed(target, n, written_prior(target, changes, weighing), weighing.prior.source)


def _observed(table: RawTable, mapping: Mapping[str, str], system: str) -> dict[str, Floats]:
    """Return the observations by the names that catalogs have for them."""
    known: dict[str, Floats] = {}
    for what, column in mapping.items():
        if what in ("ra", "dec"):
            values = table.angles_deg(column)
        elif what in _SHARES:
            values = _share(table, column)
        elif what in _MARKED or _BAND.fullmatch(what):
            values = table.unmarked(column)
        else:
            values = table.numbers(column)
        known[what] = np.where(np.isfinite(values), values, np.nan)
    if "ebv" in known:
        ebv = known.pop("ebv")
        # A negative reddening is a mistake of the table, and what follows from it is unknown.
        usable = (ebv >= 0) & (ebv < MAX_EBV)
        known |= _dereddened(known, np.where(usable, ebv, np.nan), system)
    return known | _colors(known, system)


def _share(table: RawTable, column: str) -> Floats:
    """Return a column of shares."""
    known = table.unmarked(column)
    wrong = (known < 0) | (known > 1)
    if wrong.any():
        raise SourcesError(
            f"column {column!r} of {table.path} holds {known[wrong][0]}: give 0 to 1, empty where "
            "unknown"
        )
    return known


def _dereddened(known: Mapping[str, Floats], ebv: Floats, system: str) -> dict[str, Floats]:
    """Return the magnitudes free of extinction."""
    bands = [what.partition(".")[2] for what in known if what.startswith("mag.")]
    return {f"mag.{band}": deredden(known[f"mag.{band}"], band, ebv, system) for band in bands}


def _colors(known: Mapping[str, Floats], system: str) -> dict[str, Floats]:
    """Return magnitudes in the SDSS system, r0 and the distance from the red sequence."""
    mag = {what[4:]: values for what, values in known.items() if what.startswith("mag.")}
    if not mag:
        return {}
    sdss = to_sdss(mag, system)
    found = {f"mag_{band}": values for band, values in sdss.items()}
    if "r0" not in known and "r" in sdss:
        found["r0"] = sdss["r"]
    cuts = ColorCuts()
    sequence = cuts.sequence
    if "delta_rs" not in known and sequence.bands <= sdss.keys():
        color = sdss[sequence.blue] - sdss[sequence.red]
        found["delta_rs"] = delta_rs(color, sdss[sequence.mag], cuts)
        unknown = np.full(len(color), np.nan)
        errors = (known.get(f"magerr.{band}", unknown) for band in (sequence.blue, sequence.red))
        found["delta_rs_err"] = sequence.delta_err(*errors)
    return found


def _joined(blocks: Sequence[Weighed]) -> dict[str, npt.NDArray[np.generic]]:
    """Return the new columns of all rows, with floats of four bytes as in a catalog."""
    names = blocks[0].columns
    columns: dict[str, npt.NDArray[np.generic]] = {
        name: np.concatenate([block.columns[name].astype(np.float32) for block in blocks])
        for name in names
    }
    return columns | {"evidence_flags": np.concatenate([block.flags for block in blocks])}
