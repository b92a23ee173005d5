"""The files that a training writes: that they harm nothing, and whether they are there already.

Owns what is refused before any work. Does not own what is written into them (``fit``, ``log``,
``state``).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from survey_classifier.errors import CheckpointError, ConfigError, RunMismatchError
from survey_classifier.files import LEFTOVERS, require_writable
from survey_classifier.model.card import ModelCard
from survey_classifier.model.checkpoint import read_card
from survey_classifier.model.header import SUFFIX
from survey_classifier.run.claim import locked
from survey_classifier.training.log import LOG_HEADER
from survey_classifier.training.recipes import Recipe

__all__ = ["PREDICTIONS_HEADER", "claimed", "finished", "require_outputs"]

PREDICTIONS_HEADER = ("id", "ra", "dec", "class")
"""First columns of the table of predictions, in all versions."""
LOCK = ".lock"


def require_outputs(recipe: Recipe) -> None:
    """Refuse a recipe whose training would write over what is not its own.

    Parameters
    ----------
    recipe
        The recipe.

    Raises
    ------
    ConfigError
        If an output is an input of the recipe, is there and of another kind, or can't be written.
    """
    outputs = {
        recipe.checkpoint_path: "checkpoint",
        recipe.log_path: "log",
        recipe.predictions_path: "table of predictions",
        recipe.state_folder: "state",
    }
    inputs = dict(_inputs(recipe))
    for output, kind in outputs.items():
        for path, key in inputs.items():
            if _is_one(output, path):
                raise ConfigError(
                    f"the {kind} of {recipe.name} would be written over {path}, which is its"
                    f" {key}; change 'name' or 'out'"
                )
        if output.exists() and not _is_own(recipe, output):
            raise ConfigError(
                f"{output} is there already and is no {kind} of a training; move it, or change"
                " 'name' or 'out'"
            )
        _require_writable(output)


def _inputs(recipe: Recipe) -> Iterator[tuple[Path, str]]:
    """Yield the files and folders that a recipe names, with their keys."""
    for data in recipe.data:
        yield recipe.path(data.table), "data.table"
        if data.store:
            yield recipe.path(data.store), "data.store"
        if data.thumbnails is not None:
            yield recipe.path(data.thumbnails.path), "data.thumbnails.path"
    if recipe.fit.start_from.endswith(SUFFIX):
        yield recipe.path(recipe.fit.start_from), "fit.start_from"


def _is_one(path: Path, other: Path) -> bool:
    """Say whether two paths are one file, also through links."""
    return path == other or (path.exists() and other.exists() and path.samefile(other))


def _is_own(recipe: Recipe, output: Path) -> bool:
    """Say whether what is there is what a training writes under such a name."""
    if output == recipe.state_folder:
        return output.is_dir() and all(_is_of_state(path) for path in output.iterdir())
    if output == recipe.checkpoint_path:
        try:
            read_card(output)
        except CheckpointError:
            return False
        return True
    header = LOG_HEADER if output == recipe.log_path else PREDICTIONS_HEADER
    if not output.is_file():
        return False
    is_empty = output.stat().st_size == 0  # as a kill leaves it
    return is_empty or tuple(_first_cells(output)[: len(header)]) == header


def _is_of_state(path: Path) -> bool:
    """Say whether a file is one that a training keeps in its state's folder."""
    return path.name == LOCK or path.suffix == SUFFIX or path.match(LEFTOVERS)


def _first_cells(path: Path) -> list[str]:
    """Return the names of a CSV's columns, as far as they are plain."""
    with path.open("rb") as file:
        line = file.readline(1 << 10).decode("utf-8", "replace")
    return line.rstrip("\r\n").split(",")


def _require_writable(output: Path) -> None:
    """Refuse a place that can't be written to."""
    try:
        # In a folder a file is made, as the state's are.
        require_writable(output / LOCK if output.is_dir() else output)
    except OSError as error:
        raise ConfigError(f"{output} can't be written ({error.strerror}); change 'out'") from error


def finished(recipe: Recipe, identity: str) -> ModelCard | None:
    """Return the card of a training that is finished already; None where there is no checkpoint.

    Parameters
    ----------
    recipe
        The recipe.
    identity
        Of what it would be now.

    Raises
    ------
    RunMismatchError
        If the checkpoint is of another training.
    """
    if not recipe.checkpoint_path.is_file():
        return None
    card = read_card(recipe.checkpoint_path)
    if card.trained_by != identity:
        raise RunMismatchError(
            f"{recipe.checkpoint_path} is there already, by another recipe, of other data or by an"
            " earlier version: give another 'name' or 'out', or --overwrite"
        )
    return card


@contextmanager
def claimed(recipe: Recipe) -> Iterator[None]:
    """Keep a training for one process at a time.

    Parameters
    ----------
    recipe
        The recipe.

    Raises
    ------
    RunMismatchError
        If another process trains by it.
    ConfigError
        If its folder can't be written to.
    """
    folder = recipe.state_folder
    try:
        lock = locked(folder / LOCK, folder)
    except OSError as error:
        raise ConfigError(f"{folder} can't be written ({error.strerror}); change 'out'") from error
    with lock:
        try:
            yield
        finally:
            _remove_empty(folder)


def _remove_empty(folder: Path) -> None:
    """Remove a state's folder that holds no state: what is refused leaves nothing behind."""
    if folder.is_dir() and {path.name for path in folder.iterdir()} == {LOCK}:
        (folder / LOCK).unlink()
        folder.rmdir()
