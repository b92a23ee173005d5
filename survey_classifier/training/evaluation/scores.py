"""Scores: what a run, a training or ``score`` says of objects.

Owns finding their table and reading what of it is judged. Does not own table formats
(``sources.formats``) nor the truth (``truth``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import SourcesError
from survey_classifier.run.config import RunConfig, read_run
from survey_classifier.settings import nearest_name
from survey_classifier.sources.cells import RawTable
from survey_classifier.sources.formats import read_table, table_columns

__all__ = ["Scores", "read_scores"]

Floats = npt.NDArray[np.float64]

ID_NAMES = ("source_id", "id")
"""Columns of identifiers, the first that is there: of a catalog, of ``train``."""
P_NAMES = ("p_member", "p_image")
MAGNITUDE = "mag_"
UNLIKE_MAGNITUDES = ("mag_aper_",)


@dataclass(frozen=True, slots=True)
class Scores:
    """Scored objects; every array has shape ``(n,)``."""

    path: Path
    run: RunConfig | None
    """The run that they are of, if a folder of one was named."""
    object_id: npt.NDArray[np.object_]
    ra_deg: Floats
    dec_deg: Floats
    """Both NaN where the table has no positions."""
    p: dict[str, Floats]
    """Probabilities of membership by column; NaN = not scored."""
    fold: npt.NDArray[np.int64] | None
    """Part of the sky that the network had not seen, None where scores are not out of fold."""
    mag: Floats
    delta_rs: Floats
    delta_rs_err: Floats
    """As in ``Truth``; NaN where the table has no such column."""
    photometry: dict[str, Floats]
    """Magnitudes and the colors of neighboring bands."""

    def __len__(self) -> int:
        return len(self.object_id)


def read_scores(path: Path, id_name: str | None = None, p_names: Sequence[str] = ()) -> Scores:
    """Read scores.

    Parameters
    ----------
    path
        The output folder of a run, or a table.
    id_name
        Column of identifiers; by default ``source_id`` or ``id``.
    p_names
        Columns of probabilities; by default ``p_member``, or else ``p_image``.

    Raises
    ------
    ConfigError
        If the folder is none of a run.
    SourcesError
        If the table can't be read, lacks a column, has an id twice without being written by
        ``train``, or a score is not inside 0 to 1.
    """
    run = read_run(path / "run.toml") if path.is_dir() else None
    file = path if run is None else run.catalog_path
    names = table_columns(file)
    ids = _chosen(file, names, ID_NAMES, id_name, "--id")
    probabilities = list(p_names) or [_chosen(file, names, P_NAMES, None, "--score")]
    bands = [
        name.removeprefix(MAGNITUDE)
        for name in names
        if name.startswith(MAGNITUDE) and not name.startswith(UNLIKE_MAGNITUDES)
    ]
    optional = ["ra", "dec", "fold", "r0", "delta_rs", "delta_rs_err"]
    there = [name for name in optional if name in names]
    magnitudes = [f"{MAGNITUDE}{band}" for band in bands]
    table = read_table(file, [ids, *probabilities, *there, *magnitudes])
    column = {name: table.numbers(name) for name in there}
    unknown = np.full(len(table), np.nan)
    found = Scores(
        file,
        run,
        table.text(ids),
        table.angles_deg("ra") if "ra" in there else unknown,
        table.angles_deg("dec") if "dec" in there else unknown,
        {name: _probability(table, name) for name in probabilities},
        _folds(file, column["fold"]) if "fold" in there else None,
        column.get("r0", unknown),
        column.get("delta_rs", unknown),
        column.get("delta_rs_err", unknown),
        _photometry({band: table.numbers(f"{MAGNITUDE}{band}") for band in bands}),
    )
    return _each_once(found, ids)


def _chosen(
    file: Path, names: Sequence[str], usual: Sequence[str], wanted: str | None, option: str
) -> str:
    """Return the column that was asked for, or the first usual one."""
    for name in usual if wanted is None else (wanted,):
        if name in names:
            return name
    if wanted is not None:
        raise SourcesError(f"{file} has no column {wanted!r}: {nearest_name(wanted, set(names))}")
    raise SourcesError(f"{file} has neither {' nor '.join(usual)}: name a column with {option}")


def _each_once(scores: Scores, id_name: str) -> Scores:
    """Return one row an object: of the turned copies that ``train`` lists, the mean score."""
    unique, first, copy_of = np.unique(
        scores.object_id.astype(str), return_index=True, return_inverse=True
    )
    if len(unique) == len(scores):
        return scores
    if scores.fold is None:
        twice = str(unique[np.bincount(copy_of) > 1][0])
        raise SourcesError(
            f"{scores.path} has {twice!r} in several rows of {id_name!r}; keep one row an object"
        )
    n_copy = np.bincount(copy_of)
    return Scores(
        scores.path,
        scores.run,
        scores.object_id[first],
        scores.ra_deg[first],
        scores.dec_deg[first],
        {name: np.bincount(copy_of, p) / n_copy for name, p in scores.p.items()},
        scores.fold[first],
        scores.mag[first],
        scores.delta_rs[first],
        scores.delta_rs_err[first],
        {name: values[first] for name, values in scores.photometry.items()},
    )


def _probability(table: RawTable, name: str) -> Floats:
    """Return a column of probabilities."""
    p = table.numbers(name)
    wrong = (p < 0) | (p > 1)
    if wrong.any():
        raise SourcesError(
            f"column {name!r} of {table.path} holds {p[wrong][0]:g}, which is no probability; name "
            "another column with --score"
        )
    return p


def _folds(file: Path, fold: Floats) -> npt.NDArray[np.int64]:
    """Return the numbers of folds."""
    if not np.array_equal(fold, np.floor(fold)):
        raise SourcesError(f"{file} has a fold that is no whole number: give what 'train' writes")
    return fold.astype(np.int64)


def _photometry(mag: dict[str, Floats]) -> dict[str, Any]:
    """Return magnitudes and the colors of bands that follow one another in the table."""
    colors = {f"{one}-{other}": mag[one] - mag[other] for one, other in pairwise(mag)}
    return mag | colors
