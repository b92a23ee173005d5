"""Checkpoints: one safetensors file with the weights and, in its header, the model card.

Owns the file's reading and writing. Does not own which are shipped (``shipped``), the file's
header (``header``), the card's rules (``card``) or the network (``network``). Reading a card loads
no torch, and nothing here ever unpickles: a checkpoint is data from strangers.
"""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from survey_classifier.errors import CheckpointError
from survey_classifier.files import replacing
from survey_classifier.model.card import ModelCard
from survey_classifier.model.header import (
    LENGTH_BYTES,
    MAX_HEADER_BYTES,
    SUFFIX,
    card_of_header,
    metadata_of,
    sorted_header,
)

if TYPE_CHECKING:
    import torch

    from survey_classifier.model.network import Network
    from survey_classifier.model.novelty import Novelty

__all__ = [
    "ModelCard",
    "file_digest",
    "load_checkpoint",
    "load_network",
    "read_card",
    "save_checkpoint",
]

NOVELTY = "novelty."
"""What the names of the tensors that are no weights begin with."""
MAX_FILE_BYTES = 2 << 30
"""Eight times the published resnet152."""


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a checkpoint's content, as hexadecimal digits.

    Raises
    ------
    CheckpointError
        If the file can't be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def read_card(path: Path) -> ModelCard:
    """Return the model card of a checkpoint, without loading its weights.

    Raises
    ------
    CheckpointError
        If the file can't be read, is no checkpoint of this package, or its card is not valid.
    """
    try:
        with path.open("rb") as file:
            n_bytes = int.from_bytes(file.read(LENGTH_BYTES), "little")
            # The length comes from the file: never read more than a header can be.
            text = file.read(n_bytes) if n_bytes <= MAX_HEADER_BYTES else b""
    except OSError as error:
        raise _unreadable(path, error) from error
    return card_of_header(path, text, n_bytes)


def load_network(path: Path, expected_digest: str | None = None) -> "tuple[Network, ModelCard]":
    """Return the network of a checkpoint, in ``eval`` mode on the CPU, and its card.

    See `load_checkpoint`.
    """
    return load_checkpoint(path, expected_digest)[:2]


def load_checkpoint(
    path: Path, expected_digest: str | None = None
) -> "tuple[Network, ModelCard, Novelty | None]":
    """Return all that a checkpoint holds, on the CPU.

    Parameters
    ----------
    path
        The checkpoint.
    expected_digest
        SHA-256 that the file must have; None accepts any.

    Returns
    -------
    network
        In ``eval`` mode.
    card
        Its card.
    novelty
        None if the card says that there is none.

    Raises
    ------
    CheckpointError
        If the file can't be read, is larger than 2 GiB, has another digest, or its tensors are
        not exactly those (name, shape, type, finite values) that its card describes.
    """
    content = _content(path)
    _check_digest(path, content, expected_digest)
    n_bytes = int.from_bytes(content[:LENGTH_BYTES], "little")
    card = card_of_header(path, content[LENGTH_BYTES : LENGTH_BYTES + n_bytes], n_bytes)
    network, novelty = _without_memory(card)
    tensors = _tensors(path, content)
    _check_tensors(path, tensors, _named(network, novelty))
    network.load_state_dict({name: tensors[name] for name in network.state_dict()}, assign=True)
    if novelty is not None:
        of_novelty = {name: tensors[NOVELTY + name] for name in novelty.state_dict()}
        novelty.load_state_dict(of_novelty, assign=True)
    return network.eval(), card, novelty


def _content(path: Path) -> bytes:
    """Return the bytes of a file that may be a checkpoint."""
    try:
        with path.open("rb") as file:
            n_bytes = os.fstat(file.fileno()).st_size
            # The size is asked for first: reading allocates as much as may be read.
            content = file.read(n_bytes) if n_bytes <= MAX_FILE_BYTES else b""
    except OSError as error:
        raise _unreadable(path, error) from error
    if n_bytes > MAX_FILE_BYTES:
        raise CheckpointError(
            f"{path} has {n_bytes} bytes, no checkpoint has more than {MAX_FILE_BYTES};"
            f" give a {SUFFIX} file written by 'survey-classifier train'"
        )
    return content


def _without_memory(card: ModelCard) -> "tuple[Network, Novelty | None]":
    """Return what a card describes, its tensors with a shape but no memory.

    A card is data from strangers: what it asks for is held against the tensors that came with
    it before anything is allocated.
    """
    import torch

    from survey_classifier.model.network import build_network
    from survey_classifier.model.novelty import Novelty

    with torch.device("meta"):
        network = build_network(card)
        n_late = network.head.in_features
        return network, Novelty(network.n_early, n_late) if card.novelty else None


def _named(network: "Network", novelty: "Novelty | None") -> "dict[str, torch.Tensor]":
    """Return all tensors of a checkpoint by the names that they have in the file."""
    if novelty is None:
        return network.state_dict()
    of_novelty = {NOVELTY + name: tensor for name, tensor in novelty.state_dict().items()}
    return network.state_dict() | of_novelty


def _check_digest(path: Path, content: bytes, expected: str | None) -> None:
    """Raise unless the bytes that will be used are those that were planned with."""
    found = hashlib.sha256(content).hexdigest()
    if expected is not None and found != expected:
        raise CheckpointError(
            f"{path} has the digest {found[:12]}, the run was planned with {expected[:12]};"
            " put the planned file back, or start a run with another 'out'"
        )


def _tensors(path: Path, content: bytes) -> "dict[str, torch.Tensor]":
    """Return the tensors of a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(content)
    except (SafetensorError, KeyError) as error:
        raise CheckpointError(
            f"{path} has no readable tensors ({error}); copy or train it again"
        ) from error


def _check_tensors(
    path: Path, tensors: "dict[str, torch.Tensor]", wanted: "dict[str, torch.Tensor]"
) -> None:
    """Raise unless the tensors are exactly those that are wanted, and finite."""
    odd = sorted(wanted.keys() ^ tensors.keys())
    if odd:
        raise CheckpointError(
            f"{path} does not fit its card: {len(odd)} tensors are missing or too many,"
            f" such as {odd[0]!r}; train it again"
        )
    for name, tensor in tensors.items():
        want = wanted[name]
        if tensor.shape != want.shape or tensor.dtype != want.dtype:
            raise CheckpointError(
                f"{path} does not fit its card: {name!r} is {tensor.dtype}{list(tensor.shape)},"
                f" the card needs {want.dtype}{list(want.shape)}; train it again"
            )
        if not tensor.isfinite().all():
            raise CheckpointError(f"{path} has values in {name!r} that are not finite; train again")


def save_checkpoint(
    path: Path, network: "Network", card: ModelCard, novelty: "Novelty | None" = None
) -> None:
    """Write a checkpoint; the file appears complete or not at all.

    Parameters
    ----------
    path
        Ends in ``.safetensors``; its folder is made if it isn't there.
    network
        Not fused.
    card
        Must describe this network.
    novelty
        What tells the novelty of stamps, where the card says that there is such a thing.

    Raises
    ------
    CheckpointError
        If this is not what the card describes, or the file can't be written.
    """
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu() for name, tensor in _named(network, novelty).items()}
    _check_tensors(path, tensors, _named(*_without_memory(card)))
    content = sorted_header(save(tensors, metadata_of(card)))
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise CheckpointError(
            f"{path} can't be written ({error.strerror}); choose another 'out'"
        ) from error


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    """Return the error for a file that the system would not read."""
    return CheckpointError(f"{path} can't be read ({error.strerror}); correct 'checkpoint'")
