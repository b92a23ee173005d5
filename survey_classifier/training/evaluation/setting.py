"""Where an evaluation comes from: its files, and whether networks had seen the objects.

Owns the words for it. Does not own the reading of any file (``scores``, ``truth``, ``origin``).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey_classifier.sources.digest import table_digest
from survey_classifier.training.evaluation.account import Account
from survey_classifier.training.evaluation.folds import (
    MAX_FOLDS,
    Split,
    is_regrouped,
    n_folds_of,
    split_of,
)
from survey_classifier.training.evaluation.forecasts import Posterior
from survey_classifier.training.evaluation.judged import Judged
from survey_classifier.training.evaluation.scores import Scores
from survey_classifier.training.evaluation.settings import TruthFile
from survey_classifier.training.evaluation.wanted import P_MEMBER
from survey_classifier.training.split import SECOND_SAMPLE

__all__ = ["Setting", "setting_of"]

SAID: dict[Split, str] = {
    "folds": "The scores have folds; the table does not tell whether each is of a network that had "
    "not seen its fold.",
    "part": "All scores are of one part of the split; if it was leaky, it leaks here, too.",
    "second sample": "All scores are of a second sample, which no network was fitted to.",
}
NOT_SEEN = "No score is of an object that its network had seen."
UNSURE = (
    "The networks began with weights of another training; whether that had seen these objects is "
    "not known."
)
SECOND = (
    "Those of the second sample are of objects that no network was fitted to; the two samples are "
    "judged apart, too."
)
BETTER = "figures are better than they would be of others."


@dataclass(frozen=True, slots=True)
class Setting:
    """Where an evaluation comes from, in words."""

    scores: str
    others: dict[str, str]
    """By name the files that the scores are compared with."""
    truth: str
    account: Account
    seen: str
    """Whether the networks had seen the objects."""
    is_optimistic: bool
    """Whether one had."""
    notes: tuple[str, ...]
    """What else is to be known of the scores."""

    @property
    def said(self) -> str:
        """All that is to be known of the scores."""
        return " ".join([self.seen, *self.notes])


def setting_of(
    tables: Sequence[Scores], judged: Judged, truth: TruthFile, account: Account
) -> Setting:
    """Say where an evaluation comes from.

    Parameters
    ----------
    tables
        The scores, and those that they are compared with.
    judged
        The objects.
    truth
        What they are compared with.
    account
        What became of its rows.
    """
    paths = {data.name: truth.path(data.table) for data in truth.data}
    digests = {path.name: table_digest(path) for path in paths.values()}
    first, *others = tables
    seen, optimistic = [], []
    for of in tables:
        known = of.origin.trained_on or frozenset()
        trained_on = [name for name, digest in digests.items() if digest in known]
        n_seen = 0 if of.seen is None else int(of.seen[judged.rows[of.name]].sum())
        seen.append(_seen(of, trained_on, n_seen, len(judged)))
        optimistic.append(bool(trained_on) or of.start_had_seen or n_seen > 0)
    notes = {of.name: list(_notes(of, judged, truth, digests)) for of in tables}
    return Setting(
        first.path.name,
        {other.name: str(other.path) for other in others},
        "; ".join(f"{name}, sha256 {digest[:12]}" for name, digest in digests.items()),
        account,
        _joined([of.name for of in tables], seen),
        any(optimistic),
        tuple(
            note if len(tables) == 1 else f"Of {name}: {note}"
            for name, found in notes.items()
            for note in found
        ),
    )


def _seen(scores: Scores, trained_on: Sequence[str], n_seen: int, n: int) -> str:
    """Say whether the network of some scores had seen the objects."""
    if n_seen:
        alone = " Those that it had not seen are judged apart, too." if n_seen < n else ""
        if scores.is_unsure.any():
            alone = " Whether it had seen others of them is not known."
        return (
            f"{n_seen:,} of {n:,} objects had been seen by the network that scored them: their "
            f"scores are no test.{alone}"
        )
    if scores.start_had_seen:
        return f"The networks began with weights that had seen these objects: {BETTER}"
    if trained_on:
        return f"The network was trained on objects of {', '.join(trained_on)}: {BETTER}"
    split = split_of(scores.fold)
    if split in ("folds", "part"):
        of_folds = " They are out of fold." if split == "folds" else ""
        said = SAID[split] if scores.seen is None else f"{NOT_SEEN}{of_folds}"
        if scores.is_unsure.any():
            said = UNSURE
        has_second = scores.fold is not None and (scores.fold == SECOND_SAMPLE).any()
        return f"{said} {SECOND}" if has_second else said
    if split in SAID:
        return SAID[split]
    if scores.origin.trained_on is not None:
        return (
            "None of the truth's tables is among those that the network's card names; that it was "
            "trained on a part or a copy of one, nobody could tell."
        )
    if scores.origin.is_replaced:
        return (
            f"The file of the network {scores.origin.network} is not the one any more that made "
            "these scores: whether that had seen these objects is not known."
        )
    return "Whether the network had seen these objects is not known."


def _notes(
    scores: Scores, judged: Judged, truth: TruthFile, digests: Mapping[str, str]
) -> Iterator[str]:
    """Yield what else is to be known of some scores."""
    if scores.n_row > len(scores):
        yield (
            f"{scores.path.name} has {scores.n_row:,} rows of {len(scores):,} objects: of several "
            "rows of one object the mean is judged."
        )
    weighing = scores.origin.weighing
    if weighing is not None and any(P_MEMBER in name for name in scores.p):
        fitted_to = [name for name, digest in digests.items() if digest in weighing.evidence.source]
        if fitted_to:
            yield (
                f"What image and color are worth in p_member was fitted to {', '.join(fitted_to)}: "
                "its figures are no test."
            )
    if scores.posterior is not None:
        yield from _on_redshifts(scores.posterior, judged.rows[scores.name])
    if is_regrouped(scores.fold):
        yield (
            f"{scores.path.name} has {n_folds_of(scores.fold):,} folds, more than {MAX_FOLDS}: "
            f"simple forecasts are fitted in {truth.n_folds} strips of the sky. If these are no "
            "folds, call that column otherwise."
        )


def _on_redshifts(posterior: Posterior, rows: npt.NDArray[np.intp]) -> Iterator[str]:
    """Yield what is known of redshifts in the p_member of judged objects."""
    has = posterior.has_redshift
    n = None if has is None else int(has[rows].sum())
    if n == 0 and posterior.use != "not judged":
        return
    of = "redshifts" if n is None else f"the redshifts of {n:,} of {len(rows):,} objects"
    if posterior.use == "without":
        yield f"p_member is judged without {of}: with them, judging it by spectra is circular."
    elif posterior.use == "held" and n is None:
        yield (
            "Whether p_member holds redshifts is not known: if so, judging it by spectra is "
            "circular."
        )
    elif posterior.use == "held":
        yield f"p_member holds {of}: judging it by spectra is circular."
    else:
        yield (
            f"p_member is not judged: it may hold {of}, and its table does not tell how to take "
            "them out; --score p_member judges it as it is."
        )


def _joined(names: Sequence[str], seen: Sequence[str]) -> str:
    """Return what is said of each table, once where it is the same of all."""
    if len(set(seen)) == 1:
        return seen[0]
    said = {text: [n for n, t in zip(names, seen, strict=True) if t == text] for text in seen}
    return " ".join(f"Of {', '.join(of)}: {text}" for text, of in said.items())
