"""The checkpoints that come with the package, and what a ``checkpoint`` key means.

Owns their folder. Does not own the files' reading (``checkpoint``).
"""

from collections.abc import Iterator
from pathlib import Path

from survey_classifier.errors import CheckpointError
from survey_classifier.model.card import ModelCard
from survey_classifier.model.checkpoint import read_card
from survey_classifier.model.header import SUFFIX
from survey_classifier.problems import nearest_name

__all__ = ["resolve_checkpoint", "shipped_cards"]

SHIPPED = Path(__file__).parent / "checkpoints"


def resolve_checkpoint(name_or_path: str, folder: Path, key: str = "checkpoint") -> Path:
    """Return the file that a run's ``checkpoint`` means.

    Parameters
    ----------
    name_or_path
        A shipped name such as ``perseus-sdss``, or a path to a ``.safetensors`` file.
    folder
        What a relative path is relative to.
    key
        Where it was written, for the message.

    Raises
    ------
    CheckpointError
        If there is no such file; names the nearest shipped checkpoint.
    """
    if name_or_path.endswith(SUFFIX):
        path = folder / name_or_path
        if path.is_file():
            return path
        raise CheckpointError(f"there is no checkpoint {path}; correct the path of {key!r}")
    shipped = {path.stem: path for path in _shipped()}
    if name_or_path in shipped:
        return shipped[name_or_path]
    raise CheckpointError(
        f"there is no shipped checkpoint {name_or_path!r} (a path ends in {SUFFIX}):"
        f" {nearest_name(name_or_path, set(shipped))}"
    )


def shipped_cards() -> Iterator[ModelCard]:
    """Yield the cards of the shipped checkpoints, sorted by name.

    Raises
    ------
    CheckpointError
        If one cannot be read.
    """
    return map(read_card, _shipped())


def _shipped() -> list[Path]:
    return sorted(SHIPPED.glob(f"*{SUFFIX}"), key=lambda path: path.stem)
