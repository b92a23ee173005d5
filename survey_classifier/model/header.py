"""The header of a checkpoint: where its tensors are, and its model card.

Owns the file's layout, and what a sound header is. Does not own the card's rules (``card``) nor
the reading of files and tensors (``checkpoint``).

The layout is that of safetensors: eight bytes with the header's length (little endian), the
header as JSON, then the tensors. Our header's ``__metadata__`` holds ``format`` and ``card``.
"""

import json
from pathlib import Path
from typing import Any

from survey_classifier.errors import CheckpointError
from survey_classifier.model.card import ModelCard, parse_card

__all__ = [
    "LENGTH_BYTES",
    "MAX_HEADER_BYTES",
    "SUFFIX",
    "card_of_header",
    "metadata_of",
    "sorted_header",
]

SUFFIX = ".safetensors"
FORMAT = "survey_classifier/1"
FORMAT_KEY, CARD_KEY = "format", "card"
LENGTH_BYTES = 8
MAX_HEADER_BYTES = 4 << 20


def card_of_header(path: Path, text: bytes, n_bytes: int) -> ModelCard:
    """Return the card that a header holds.

    Parameters
    ----------
    path
        The file.
    text
        Its header, as much of it as there is.
    n_bytes
        How long the header is by its own account.

    Raises
    ------
    CheckpointError
        If it is none of this package's, or is cut off.
    """
    if not 2 <= n_bytes <= MAX_HEADER_BYTES or len(text) < n_bytes:
        raise CheckpointError(
            f"{path} is no checkpoint: its header claims {n_bytes} bytes, the file holds"
            f" {path.stat().st_size}; give a {SUFFIX} file written by 'survey-classifier train'"
        )
    metadata = _metadata(path, text)
    found = metadata.get(FORMAT_KEY)
    if found != FORMAT:
        raise CheckpointError(
            f"{path} has the format {found!r}, this version reads {FORMAT!r};"
            " train it again with 'survey-classifier train'"
        )
    _require_whole(path, text)
    card = metadata.get(CARD_KEY)
    if not isinstance(card, str):
        raise CheckpointError(
            f"{path} has no model card; train it again with 'survey-classifier train'"
        )
    return parse_card(card, str(path))


def _require_whole(path: Path, text: bytes) -> None:
    """Refuse a file that is shorter than its header says: it would fail only when it is loaded."""
    tensors = {name: entry for name, entry in json.loads(text).items() if name != "__metadata__"}
    try:
        n_bytes = max((int(entry["data_offsets"][1]) for entry in tensors.values()), default=0)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is no checkpoint: its header does not say where its tensors are;"
            f" give a {SUFFIX} file written by 'survey-classifier train'"
        ) from error
    expected, size = LENGTH_BYTES + len(text) + n_bytes, path.stat().st_size
    if size < expected:
        raise CheckpointError(f"{path} is truncated, {size} of {expected} bytes; copy it again")


def _metadata(path: Path, text: bytes) -> dict[str, Any]:
    """Return the ``__metadata__`` of a safetensors header."""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is no checkpoint: its header is no JSON;"
            f" give a {SUFFIX} file written by 'survey-classifier train'"
        ) from error
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    return metadata if isinstance(metadata, dict) else {}


def metadata_of(card: ModelCard) -> dict[str, str]:
    """Return what the header of a checkpoint says of it.

    Parameters
    ----------
    card
        Its card.
    """
    # Fields that are not needed stay out: earlier versions refuse a card that has them.
    return {FORMAT_KEY: FORMAT, CARD_KEY: card.model_dump_json(exclude_defaults=True)}


def sorted_header(content: bytes) -> bytes:
    """Return a safetensors file with its header in sorted order.

    The library writes the metadata's keys in an order that changes from call to call; a
    checkpoint's digest must not.

    Parameters
    ----------
    content
        The file.
    """
    end = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
    header = json.dumps(json.loads(content[LENGTH_BYTES:end]), sort_keys=True).encode()
    header += b" " * (-len(header) % LENGTH_BYTES)  # tensors start at a multiple of eight
    return len(header).to_bytes(LENGTH_BYTES, "little") + header + content[end:]
