"""Where an evaluation comes from: its files, and whether networks had seen the objects.

Owns the words for it. Does not own the reading of any file (``scores``, ``truth``).
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from survey_classifier.catalog.read import read_provenance
from survey_classifier.errors import CatalogError, CheckpointError
from survey_classifier.model.checkpoint import file_digest, read_card, resolve_checkpoint
from survey_classifier.run.config import read_run
from survey_classifier.sources.digest import table_digest
from survey_classifier.training.evaluation.judged import Judged, Split, split_of
from survey_classifier.training.evaluation.scores import Scores
from survey_classifier.training.evaluation.settings import TruthFile
from survey_classifier.training.split import SECOND_SAMPLE

__all__ = ["Setting", "setting_of"]

SAID: dict[Split, str] = {
    "folds": "No score is of an object that its network had seen: they are out of fold.",
    "part": "All scores are of one part of the split; if it was leaky, it leaks here, too.",
    "second sample": "All scores are of a second sample, which no network was fitted to.",
}
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
    splits = [judged.split, *(split_of(other.fold) for other in others)]
    known = [_known(of) for of in tables]
    trained = [
        [] if of is None else [name for name, digest in digests.items() if digest in of]
        for of in known
    ]
    seen = [
        _seen(of, split, of_known is not None, on)
        for of, split, of_known, on in zip(tables, splits, known, trained, strict=True)
    ]
    return Setting(
        first.path.name,
        {other.name: str(other.path) for other in others},
        "; ".join(f"{name}, sha256 {digest[:12]}" for name, digest in digests.items()),
        _joined([of.name for of in tables], seen),
        any(trained) or any(of.start_had_seen for of in tables),
    )


def _seen(scores: Scores, split: Split, is_known: bool, trained_on: Sequence[str]) -> str:
    """Say whether the network of some scores had seen the objects."""
    if scores.start_had_seen:
        return f"The networks began with weights that had seen these objects: {BETTER}"
    if split in ("folds", "part"):
        has_second = scores.fold is not None and (scores.fold == SECOND_SAMPLE).any()
        return f"{SAID[split]} {SECOND}" if has_second else SAID[split]
    if split in SAID:
        return SAID[split]
    if trained_on:
        return f"The network was trained on objects of {', '.join(trained_on)}: {BETTER}"
    if is_known:
        return (
            "None of the truth's tables is among those that the network's card names; that it was "
            "trained on a part or a copy of one, nobody could tell."
        )
    return "Whether the network had seen these objects is not known."


def _joined(names: Sequence[str], seen: Sequence[str]) -> str:
    """Return what is said of each table, once where it is the same of all."""
    if len(set(seen)) == 1:
        return seen[0]
    said = {text: [n for n, t in zip(names, seen, strict=True) if t == text] for text in seen}
    return " ".join(f"Of {', '.join(of)}: {text}" for text, of in said.items())


def _known(scores: Scores) -> set[str] | None:
    """Return the SHA-256 of all that the network of some scores was trained on; None: not known."""
    beside = scores.path.with_name("run.toml")
    run = scores.run
    if run is None and beside.is_file():
        found = read_run(beside)
        run = found if found.catalog_path.resolve() == scores.path.resolve() else None
    if run is not None:
        card = read_card(resolve_checkpoint(run.checkpoint, run.folder))
        return {data.sha256 for data in card.data}
    return _told(scores.path) if scores.path.suffix == ".parquet" else None


def _told(table: Path) -> set[str] | None:
    """Return the same of a table that says in its footer what wrote it."""
    try:
        origin = read_provenance(table)
    except CatalogError:
        return None  # of somebody else's hand
    trained_on = tomllib.loads(origin.configuration).get("trained_on")
    if trained_on is not None:
        return set(trained_on)
    try:
        path = resolve_checkpoint(origin.checkpoint, Path())
    except CheckpointError:
        return None  # not shipped
    if file_digest(path) != origin.checkpoint_digest:
        return None
    return {data.sha256 for data in read_card(path).data}
