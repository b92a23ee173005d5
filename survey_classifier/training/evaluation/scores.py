"""Scores: what a run, a training or ``score`` says of objects.

Owns finding their table and reading what of it is judged. Does not own table formats
(``sources.formats``) nor the truth (``truth``).
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import SourcesError
from survey_classifier.run.config import RunConfig, read_run
from survey_classifier.settings import nearest_name
from survey_classifier.sources.cells import RawTable
from survey_classifier.sources.formats import read_table, table_columns

__all__ = ["Claim", "Scores", "read_compared", "read_scores"]

Floats = npt.NDArray[np.float64]

ID_NAMES = ("source_id", "id")
"""Columns of identifiers, the first that is there: of a catalog, of ``train``."""
P_NAMES = ("p_member", "p_image")
CLAIMS = {"p_err": "p_member", "p_image_err": "p_image"}
"""Columns of claimed errors, of ``train`` and of a network's scores, and of what they are."""
FOLD_NAMES = ("fold", "fold_seen")
"""Columns of folds of ``train``; the second where its first weights had seen the objects."""
TRAINED = "-out-of-fold"
"""End of the name of a table that ``train`` writes."""
MAGNITUDE = "mag_"
UNLIKE_MAGNITUDES = ("mag_aper_",)


@dataclass(frozen=True, slots=True)
class Claim:
    """Errors that a table claims of probabilities; every array has shape ``(n,)``."""

    of: str
    """Name of these."""
    p: Floats
    p_err: Floats
    """NaN = none."""

    def take(self, rows: npt.NDArray[np.intp]) -> "Claim":
        """Return some of them."""
        return Claim(self.of, self.p[rows], self.p_err[rows])


@dataclass(frozen=True, slots=True)
class Scores:
    """Scored objects; every array has shape ``(n,)``."""

    name: str
    """What the table is called beside others."""
    folder_name: str
    """And its folder, where they share that."""
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
    """Part of the sky that the network had not seen, or `SECOND_SAMPLE`; None where scores are not
    out of fold."""
    start_had_seen: bool
    """Whether the network began with weights that had seen what it is scored on."""
    mag: Floats
    delta_rs: Floats
    delta_rs_err: Floats
    """As in ``Truth``; NaN where the table has no such column."""
    claim: Claim | None
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
    optional = ["ra", "dec", *FOLD_NAMES, "r0", "delta_rs", "delta_rs_err"]
    there = [name for name in optional if name in names]
    claimed = [(err, of) for err, of in CLAIMS.items() if {err, of} <= set(names)][:1]
    magnitudes = [f"{MAGNITUDE}{band}" for band in bands]
    pairs = [name for pair in claimed for name in pair]
    table = read_table(file, [ids, *probabilities, *there, *magnitudes, *pairs])
    column = {name: table.numbers(name) for name in there}
    folds = next((column[name] for name in FOLD_NAMES if name in there), None)
    unknown = np.full(len(table), np.nan)
    found = Scores(
        path.stem.removesuffix(TRAINED) if run is None else path.resolve().name,
        path.resolve().parent.name,
        file,
        run,
        table.text(ids),
        table.angles_deg("ra") if "ra" in there else unknown,
        table.angles_deg("dec") if "dec" in there else unknown,
        {name: _probability(table, name) for name in probabilities},
        None if folds is None else _folds(file, folds),
        FOLD_NAMES[1] in there,
        column.get("r0", unknown),
        column.get("delta_rs", unknown),
        column.get("delta_rs_err", unknown),
        _claim(table, *claimed[0]) if claimed else None,
        _photometry({band: table.numbers(f"{MAGNITUDE}{band}") for band in bands}),
    )
    return _each_once(found, ids)


def read_compared(
    paths: Sequence[Path],
    id_name: str | None,
    p_names: Sequence[str],
    taken: Collection[str],
) -> list[Scores]:
    """Read several tables of scores; probabilities have the names of their tables.

    Parameters
    ----------
    paths
        The first is read as `read_scores` does. Of the others the same columns are taken where
        they have them, else the usual ones.
    id_name, p_names
        As for `read_scores`.
    taken
        Names that no table may have.

    Raises
    ------
    ConfigError, SourcesError
        As `read_scores`.
    """
    first = read_scores(paths[0], id_name, p_names)
    tables = [first, *(_read_other(path, id_name, p_names) for path in paths[1:])]
    names = _unique([(table.name, table.folder_name) for table in tables], taken)
    return [_renamed(table, name) for table, name in zip(tables, names, strict=True)]


def _read_other(path: Path, id_name: str | None, p_names: Sequence[str]) -> Scores:
    """Read another table of scores."""
    run = read_run(path / "run.toml") if path.is_dir() else None
    names = table_columns(path if run is None else run.catalog_path)
    return read_scores(
        path,
        id_name if id_name in names else None,
        p_names if set(p_names) <= set(names) else (),
    )


def _unique(names: Sequence[tuple[str, str]], taken: Collection[str]) -> list[str]:
    """Return names that differ: with the folder where tables share one, else with a number."""
    shared = Counter(name for name, _ in names)
    found: list[str] = []
    for name, folder in names:
        wish = name if shared[name] == 1 else f"{folder}/{name}"
        used = {*taken, *found}
        numbered = (f"{wish} {number}" for number in count(2))
        found.append(next(new for new in chain([wish], numbered) if new not in used))
    return found


def _renamed(scores: Scores, name: str) -> Scores:
    """Return scores whose probabilities are called after their table."""
    new = {old: name if len(scores.p) == 1 else f"{name} {old}" for old in scores.p}
    claim = scores.claim
    if claim is not None:
        claim = replace(claim, of=new.get(claim.of, f"{name} {claim.of}"))
    p = {new[old]: values for old, values in scores.p.items()}
    return replace(scores, name=name, p=p, claim=claim)


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

    def mean(values: Floats) -> Floats:
        return np.bincount(copy_of, values) / n_copy

    claim = scores.claim
    if claim is not None:
        claim = Claim(claim.of, mean(claim.p), mean(claim.p_err))
    return replace(
        scores,
        object_id=scores.object_id[first],
        ra_deg=scores.ra_deg[first],
        dec_deg=scores.dec_deg[first],
        p={name: mean(p) for name, p in scores.p.items()},
        fold=scores.fold[first],
        mag=scores.mag[first],
        delta_rs=scores.delta_rs[first],
        delta_rs_err=scores.delta_rs_err[first],
        claim=claim,
        photometry={name: values[first] for name, values in scores.photometry.items()},
    )


def _claim(table: RawTable, err: str, of: str) -> Claim | None:
    """Return what a table claims, None where it claims nothing."""
    p_err = table.numbers(err)
    return Claim(of, _probability(table, of), p_err) if np.isfinite(p_err).any() else None


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
