"""What every simulation on disk does: begin with a seed, end with a whole folder or none.

Owns how a simulation puts its files down. Does not own what is in them.
"""

import csv
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from survey_classifier.errors import ConfigError, RunError

__all__ = ["making", "require_seed", "require_unused", "write_csv"]


def require_unused(folder: Path) -> None:
    """Refuse a folder that holds anything.

    Raises
    ------
    ConfigError
        If it does, or it is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is in use: remove it or simulate into another folder")


def require_seed(seed: int) -> None:
    """Refuse a seed that numpy has no generator for.

    Raises
    ------
    ConfigError
        If it is negative.
    """
    if seed < 0:
        raise ConfigError(f"the seed is {seed}: give 0 or more")


@contextmanager
def making(folder: Path) -> Iterator[Path]:
    """Fill a folder under a temporary name; it takes its own when the block ends well.

    Parameters
    ----------
    folder
        What to make; it may exist only if it is empty.

    Yields
    ------
    Path
        The temporary folder.

    Raises
    ------
    ConfigError
        If it cannot be made.
    RunError
        If it cannot be filled; nothing of it stays.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise ConfigError(
            f"cannot write to {folder.parent} ({error}): simulate into another folder"
        ) from error
    try:
        yield partial
        partial.chmod(0o755)
        partial.replace(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise RunError(
            f"cannot write {folder} ({error}): make room, or simulate into another folder"
        ) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def write_csv(path: Path, table: Mapping[str, Sequence[str]]) -> None:
    """Write a table with the same line ends on every system.

    Parameters
    ----------
    path
        The file.
    table
        Columns by name, all of one length.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
