"""The origin of a table of scores, as its footer tells: the network, and how evidence was weighed.

Owns finding that network again, and being sure that it is the one. Does not own the footer
(``catalog.footer``), cards (``model.card``) nor the words for what is known (``setting``).
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from survey_classifier.catalog.read import read_provenance
from survey_classifier.errors import CatalogError, CheckpointError
from survey_classifier.membership.weighing import Weighing
from survey_classifier.model.checkpoint import file_digest, read_card
from survey_classifier.model.shipped import resolve_checkpoint

__all__ = ["UNKNOWN", "Origin", "origin_of"]


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of where scores come from."""

    network: str
    """Its name, '' where that is not known."""
    trained_on: frozenset[str] | None
    """SHA-256 of all that the network was trained on; None: not known."""
    is_replaced: bool
    """Whether a file of that network is there, but not the one that made the scores."""
    weighing: Weighing | None
    """How ``p_member`` was made; None: not known."""


UNKNOWN = Origin("", None, is_replaced=False, weighing=None)


def origin_of(table: Path) -> Origin:
    """Return what a table tells of its origin.

    Parameters
    ----------
    table
        A table of scores; those of ``classify``, ``reweigh`` and ``score`` tell something.
    """
    try:
        origin = read_provenance(table)
    except CatalogError:
        return UNKNOWN  # of another format, or of somebody else's hand
    configuration = tomllib.loads(origin.configuration)
    weighing = _weighing(origin.evidence)
    told = configuration.get("trained_on")
    if told is not None:
        return Origin(origin.checkpoint, frozenset(told), is_replaced=False, weighing=weighing)
    files = _files(configuration, origin.checkpoint)
    same = next((path for path in files if file_digest(path) == origin.checkpoint_digest), None)
    data = None if same is None else frozenset(data.sha256 for data in read_card(same).data)
    return Origin(origin.checkpoint, data, bool(files) and same is None, weighing)


def _weighing(statement: str) -> Weighing | None:
    """Return how evidence was weighed, None where that is not said or is of another version."""
    try:
        return Weighing.of_statement(statement) if statement else None
    except CatalogError:
        return None


def _files(configuration: dict[str, Any], name: str) -> list[Path]:
    """Return the files that are there under the network's path and under its name."""
    found = []
    for text in dict.fromkeys([configuration.get("model", {}).get("checkpoint", name), name]):
        try:
            found.append(resolve_checkpoint(text, Path()))
        except CheckpointError:
            continue  # neither there nor shipped
    return found
