"""The output folder of a run: that it can be used, and is one process's at a time.

Owns the checks before any work, the lock, and what a killed process left. Does not own what is
written there (``work``).
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from filelock import Timeout

from survey_classifier.catalog.parts import done_parts
from survey_classifier.errors import CatalogError, ConfigError, RunMismatchError
from survey_classifier.files import lock, remove_leftovers, write_text
from survey_classifier.model.devices import choose_device
from survey_classifier.run.config import ClusterSettings, RunConfig
from survey_classifier.run.plan import Plan

__all__ = ["begin", "check_place", "claimed", "locked", "unwritable"]


def check_place(config: RunConfig, cluster: ClusterSettings) -> None:
    """Find out before any work whether a run can be done where it is asked to.

    Parameters
    ----------
    config
        The run file.
    cluster
        Where the tiles are to be worked on.

    Raises
    ------
    ConfigError
        If the output folder cannot be written to, or there is no such device.
    ClusterError
        If there is no such scheduler, or it has no worker that may score.
    """
    _require_writable(config.out_folder)
    if cluster.kind in ("serial", "local") and config.model.device.startswith("cuda"):
        choose_device(config.model.device)
    if cluster.kind not in ("serial", "local", "cuda"):
        from survey_classifier.run.cluster import open_client

        with open_client(cluster):
            pass  # there is a scheduler, and it has a worker that may score


def _require_writable(folder: Path) -> None:
    """Refuse an output folder that cannot be made or written to."""
    place = next(path for path in (folder, *folder.parents) if path.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise ConfigError(f"cannot write to {place}, for out = {folder}; choose another `out`")


@contextmanager
def claimed(config: RunConfig) -> Iterator[None]:
    """Keep the output folder for one process at a time.

    Parameters
    ----------
    config
        The run file.

    Raises
    ------
    RunMismatchError
        If another process works on it.
    CatalogError
        If it cannot be written to.
    """
    try:
        config.parts_folder.mkdir(parents=True, exist_ok=True)
        held = locked(config.out_folder / ".lock", config.out_folder)
    except OSError as error:
        raise unwritable(config, error) from error
    with held:
        yield


def locked(file: Path, folder: Path) -> AbstractContextManager[object]:
    """Lock a file, and return what releases it; when its process ends, a lock does, too.

    Parameters
    ----------
    file
        The file; it is made if need be, with its folder.
    folder
        What it keeps for one process at a time.

    Raises
    ------
    RunMismatchError
        If another process has it.
    OSError
        If it cannot be made.
    """
    try:
        return lock(file)
    except Timeout as error:
        raise RunMismatchError(
            f"another process works on {folder}; wait for it, or choose another `out`"
        ) from error


def begin(laid_out: Plan) -> set[str]:
    """Clean up after a killed process, and leave the run file beside the output.

    Parameters
    ----------
    laid_out
        The run, whose folder is claimed.

    Returns
    -------
    set of str
        The tiles that are finished.

    Raises
    ------
    RunMismatchError
        If the folder holds parts of another run; nothing is changed then.
    CatalogError
        If it cannot be written to.
    """
    config = laid_out.config
    done = laid_out.done(done_parts(config.parts_folder, laid_out.fingerprint))
    try:
        for folder in (config.out_folder, config.parts_folder):
            remove_leftovers(folder)
        if config.file != config.resolved_path:
            write_text(config.resolved_path, config.resolved_toml())
    except OSError as error:
        raise unwritable(config, error) from error
    return done


def unwritable(config: RunConfig, error: OSError) -> CatalogError:
    """Return what is said of an output folder that cannot be written to.

    Parameters
    ----------
    config
        The run file.
    error
        What the system says.
    """
    return CatalogError(
        f"cannot write to {config.out_folder}: {error}; free or choose another `out`"
    )
