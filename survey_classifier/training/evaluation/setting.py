"""Where an evaluation comes from: its files, and whether networks had seen the objects.

Owns the words for it. Does not own the reading of any file (``scores``, ``truth``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from survey_classifier.model.checkpoint import read_card, resolve_checkpoint
from survey_classifier.run.config import RunConfig
from survey_classifier.sources.digest import table_digest
from survey_classifier.training.evaluation.judged import Judged, Split
from survey_classifier.training.evaluation.scores import Scores
from survey_classifier.training.evaluation.settings import TruthFile

__all__ = ["Setting", "setting_of"]

OUT_OF_FOLD = "No score is of an object that its network had seen: they are out of fold."


@dataclass(frozen=True, slots=True)
class Setting:
    """Where an evaluation comes from, in words."""

    scores: str
    others: dict[str, str]
    """By name the files that the scores are compared with."""
    truth: str
    seen: str
    """Whether the networks had seen the objects."""
    is_optimistic: bool
    """Whether one had."""


def setting_of(tables: Sequence[Scores], judged: Judged, truth: TruthFile) -> Setting:
    """Say where an evaluation comes from.

    Parameters
    ----------
    tables
        The scores, and those that they are compared with.
    judged
        The objects.
    truth
        What they are compared with.
    """
    paths = {data.name: truth.path(data.table) for data in truth.data}
    digests = {path.name: table_digest(path) for path in paths.values()}
    first, *others = tables
    splits = [judged.split, *(_split(other) for other in others)]
    trained = [[] if of.run is None else _trained_on(of.run, digests) for of in tables]
    seen = [_seen(of, split, on) for of, split, on in zip(tables, splits, trained, strict=True)]
    return Setting(
        first.path.name,
        {other.name: str(other.path) for other in others},
        "; ".join(f"{name}, sha256 {digest[:12]}" for name, digest in digests.items()),
        _joined([of.name for of in tables], seen),
        any(trained),
    )


def _split(scores: Scores) -> Split:
    """Return what a table says of its split."""
    if scores.fold is None:
        return "unknown"
    return "folds" if len(np.unique(scores.fold)) > 1 else "part"


def _seen(scores: Scores, split: Split, trained_on: list[str]) -> str:
    """Say whether the network of some scores had seen the objects."""
    if split == "folds":
        return OUT_OF_FOLD
    if split == "part":
        return "All scores are of one part of the split; if it was leaky, it leaks here, too."
    if trained_on:
        return (
            f"The network was trained on objects of {', '.join(trained_on)}: figures are "
            "better than they would be of others."
        )
    if scores.run is not None:
        return "None of the truth's tables is among those that the network's card names."
    return "Whether the network had seen these objects is not known."


def _joined(names: Sequence[str], seen: Sequence[str]) -> str:
    """Return what is said of each table, once where it is the same of all."""
    if len(set(seen)) == 1:
        return seen[0]
    said = {text: [n for n, t in zip(names, seen, strict=True) if t == text] for text in seen}
    return " ".join(f"Of {', '.join(of)}: {text}" for text, of in said.items())


def _trained_on(run: RunConfig, digests: dict[str, str]) -> list[str]:
    """Return which of some tables the network of a run was trained on."""
    card = read_card(resolve_checkpoint(run.checkpoint, run.folder))
    known = {data.sha256 for data in card.data}
    return [name for name, digest in digests.items() if digest in known]
