"""Scores: what a run, a training or ``score`` says of objects.

Owns finding their table and reading what of it is judged. Does not own table formats
(``sources.formats``), which probabilities those are (``forecasts``), where they come from
(``origin``) nor the truth (``truth``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import SourcesError
from survey_classifier.run.config import RunConfig, read_run
from survey_classifier.sources.cells import RawTable
from survey_classifier.sources.formats import read_table, table_columns
from survey_classifier.sources.sky import SAME_OBJECT_ARCSEC, separation_deg
from survey_classifier.training.evaluation.folds import split_of
from survey_classifier.training.evaluation.forecasts import (
    Posterior,
    forecasts_of,
    probability,
    title_of_trained,
)
from survey_classifier.training.evaluation.origin import Origin, origin_of
from survey_classifier.training.evaluation.wanted import (
    BEGUN,
    MAGNITUDE,
    SEEN,
    USUAL,
    Wanted,
    chosen_columns,
)

__all__ = ["Claim", "Scores", "column_names_of", "read_scores", "renamed"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SAID_OF_SEEN = ("yes", "no", "unknown")
"""Cells of that column of ``train``: whether the network had been trained on the object."""
TRAINED = "-out-of-fold"
"""End of the name of a table that ``train`` writes."""


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
    """Probabilities of membership by what they are; NaN = not scored."""
    posterior: Posterior | None
    """What is known of redshifts in them; None: they hold none."""
    origin: Origin
    fold: npt.NDArray[np.int64] | None
    """Part of the sky that the network had not seen, or `SECOND_SAMPLE`; None where scores are not
    out of fold."""
    seen: Bools | None
    """Whether the network that scored the object had been trained on it; None: not told."""
    is_unsure: Bools
    """Whether the table says that this is not known."""
    start_had_seen: bool
    """Whether the network began with weights that had seen what it is scored on."""
    mag: Floats
    delta_rs: Floats
    delta_rs_err: Floats
    """As in ``Truth``; NaN where the table has no such column."""
    claim: Claim | None
    photometry: dict[str, Floats]
    """Magnitudes and the colors of neighboring bands."""
    n_row: int
    """Rows of the table: more than objects where it lists turned copies of them."""

    def __len__(self) -> int:
        return len(self.object_id)


def read_scores(path: Path, wanted: Wanted = USUAL) -> Scores:
    """Read scores.

    Parameters
    ----------
    path
        The output folder of a run, or a table.
    wanted
        Which columns.

    Raises
    ------
    ConfigError
        If the folder is none of a run.
    SourcesError
        If the table can't be read, lacks a column, has an id twice without being written by
        ``train`` or at different places, or a score is not inside 0 to 1.
    """
    run = read_run(path / "run.toml") if path.is_dir() else None
    file = path if run is None else run.catalog_path
    columns = chosen_columns(file, table_columns(file), wanted)
    table = read_table(file, columns.all)
    unknown = np.full(len(table), np.nan)
    known = {name: table.numbers(name) for name in columns.numbers}
    angles = {name: table.angles_deg(name) for name in columns.angles}
    origin = origin_of(file)
    p, posterior = forecasts_of(table, columns, origin.weighing)
    found = Scores(
        name=path.stem.removesuffix(TRAINED) if run is None else path.resolve().name,
        folder_name=path.resolve().parent.name,
        path=file,
        run=run,
        object_id=table.text(columns.ids),
        ra_deg=angles.get("ra", unknown),
        dec_deg=angles.get("dec", unknown),
        p=p,
        posterior=posterior,
        origin=origin,
        fold=None if columns.fold is None else _folds(file, table.numbers(columns.fold)),
        seen=_seen(table) == "yes" if columns.has_seen else None,
        is_unsure=_seen(table) == "unknown" if columns.has_seen else np.zeros(len(table), np.bool_),
        start_had_seen=columns.fold == BEGUN,
        mag=known.get("r0", unknown),
        delta_rs=known.get("delta_rs", unknown),
        delta_rs_err=known.get("delta_rs_err", unknown),
        claim=None if columns.claimed is None else _claim(table, *columns.claimed),
        photometry=_photometry(
            {band: table.numbers(f"{MAGNITUDE}{band}") for band in columns.bands}
        ),
        n_row=len(table),
    )
    return _each_once(_titled(found) if columns.is_trained else found, columns.ids)


def column_names_of(path: Path) -> tuple[str, ...]:
    """Return the names of the columns of a table, or of a run's catalog; raises as `read_scores`.

    Parameters
    ----------
    path
        As for `read_scores`.
    """
    return table_columns(read_run(path / "run.toml").catalog_path if path.is_dir() else path)


def renamed(scores: Scores, new: Mapping[str, str]) -> Scores:
    """Return scores whose probabilities are called otherwise.

    Parameters
    ----------
    scores
        The scores.
    new
        From each name to the new one; of a claim that is of none of them, too.
    """
    p = {new[old]: values for old, values in scores.p.items()}
    claim = scores.claim
    if claim is not None:
        claim = replace(claim, of=new[claim.of])
    return replace(scores, p=p, claim=claim)


def _titled(scores: Scores) -> Scores:
    """Return scores of ``train`` under the names of what they are."""
    is_new = scores.seen is not None and not (scores.seen | scores.is_unsure).any()
    is_out_of_fold = split_of(scores.fold) == "folds" and is_new and not scores.start_had_seen
    claimed = [] if scores.claim is None else [scores.claim.of]
    names = dict.fromkeys([*scores.p, *claimed])
    return renamed(
        scores,
        {name: title_of_trained(name, is_out_of_fold=is_out_of_fold) for name in names},
    )


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
    _require_copies(scores, first, copy_of)

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
        seen=None if scores.seen is None else np.bincount(copy_of, scores.seen) > 0,
        is_unsure=scores.is_unsure[first],
        mag=scores.mag[first],
        delta_rs=scores.delta_rs[first],
        delta_rs_err=scores.delta_rs_err[first],
        claim=claim,
        photometry={name: values[first] for name, values in scores.photometry.items()},
    )


def _require_copies(
    scores: Scores, first: npt.NDArray[np.intp], copy_of: npt.NDArray[np.intp]
) -> None:
    """Raise if rows of one id are no copies of one object: of another fold, or at another place."""
    ra, dec, own = scores.ra_deg, scores.dec_deg, first[copy_of]
    apart = separation_deg(ra, dec, ra[own], dec[own]) * 3600 > SAME_OBJECT_ARCSEC
    if scores.fold is not None:
        apart |= scores.fold != scores.fold[own]
    if apart.any():
        row = int(np.flatnonzero(apart)[0])
        raise SourcesError(
            f"{scores.path} has {scores.object_id[row]!r} in rows {own[row] + 1} and {row + 1}, at "
            "different places or in different folds: these are several objects; give each an "
            "identifier of its own"
        )


def _claim(table: RawTable, err: str, of: str) -> Claim | None:
    """Return what a table claims, None where it claims nothing."""
    p_err = table.numbers(err)
    if (p_err < 0).any():
        raise SourcesError(
            f"column {err!r} of {table.path} holds {p_err[p_err < 0][0]:g}; an error is 0 or more"
        )
    return Claim(of, probability(table, of), p_err) if np.isfinite(p_err).any() else None


def _seen(table: RawTable) -> npt.NDArray[np.object_]:
    """Return what ``train`` says of objects: whether their network was trained on them."""
    said = table.text(SEEN)
    odd = [word for word in dict.fromkeys(said.tolist()) if word not in SAID_OF_SEEN]
    if odd:
        raise SourcesError(
            f"column {SEEN!r} of {table.path} holds {odd[0]!r}; write yes, no or unknown"
        )
    return said


def _folds(file: Path, fold: Floats) -> npt.NDArray[np.int64]:
    """Return the numbers of folds."""
    if not np.array_equal(fold, np.floor(fold)):
        raise SourcesError(f"{file} has a fold that is no whole number: give what 'train' writes")
    return fold.astype(np.int64)


def _photometry(mag: dict[str, Floats]) -> dict[str, Any]:
    """Return magnitudes and the colors of bands that follow one another in the table."""
    colors = {f"{one}-{other}": mag[one] - mag[other] for one, other in pairwise(mag)}
    return mag | colors
