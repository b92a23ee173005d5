"""The exceptions of this package, all of them.

Owns the exception tree; owns no message text (each is written where it is raised: what is
wrong, the value, the remedy, in one line)::

    SurveyClassifierError
    ├── InputError                 the user's input cannot be used         exit code 2
    │   ├── ConfigError            a run file or recipe: key or value
    │   ├── MosaicError            an image file or a store
    │   ├── SourcesError           a table of sources, redshifts or labels
    │   │   └── ImageError         one image of a source
    │   ├── CheckpointError        a checkpoint file, or one that does not fit the mosaic
    │   ├── CatalogError           a catalog or part that cannot be read or written
    │   └── RunMismatchError       an output folder that belongs to another run
    └── RunError                   the work itself failed                  exit code 1
        ├── ServiceError           a service of catalogs refused, or was silent
        ├── StoreError             a mosaic cannot be written on: no room, no permission
        ├── ClusterError           no scheduler, no device, workers lost
        ├── TileError              one tile failed (carries tile, stage and box)
        └── LostSourcesError       n_in != n_out: must never happen
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = [
    "CatalogError",
    "CheckpointError",
    "ClusterError",
    "ConfigError",
    "ImageError",
    "InputError",
    "LostSourcesError",
    "MosaicError",
    "RunError",
    "RunMismatchError",
    "ServiceError",
    "SourcesError",
    "StoreError",
    "SurveyClassifierError",
    "TileError",
    "once_written",
]


class SurveyClassifierError(Exception):
    """Base of every exception that this package raises on purpose."""

    exit_code: int = 1
    """What the command line exits with: 2 where nothing was done, 1 where something was, or failed
    that was no fault of the input."""


class InputError(SurveyClassifierError):
    """The user's input cannot be used; nothing was done, or else see `once_written`."""

    exit_code = 2


class ConfigError(InputError):
    """A run file or a recipe has a wrong key or value."""


class MosaicError(InputError):
    """An image file or a mosaic store cannot be used."""


class SourcesError(InputError):
    """A table of sources, redshifts or labels cannot be used."""


class ImageError(SourcesError):
    """The image of one source cannot be used.

    Parameters
    ----------
    reason
        What is wrong and what can be done, with the words ``the image`` for its name.
    name
        Its name, which the message has and the reason has not.
    is_damage
        Whether its bytes are at fault, not what is said of all images of the set.
    """

    def __init__(self, reason: str, name: str = "", *, is_damage: bool = False) -> None:
        super().__init__(reason, name)
        self.reason, self.name, self.is_damage = reason, name, is_damage

    def __str__(self) -> str:
        named = f"the image {self.name}" if self.name else "the image"
        return self.reason.replace("the image", named, 1)


class CheckpointError(InputError):
    """A checkpoint cannot be read, or does not fit the mosaic."""


class CatalogError(InputError):
    """A catalog or a part of one cannot be read or written."""


class RunMismatchError(InputError):
    """The output folder holds parts of a run with another fingerprint."""


class RunError(SurveyClassifierError):
    """The work itself failed."""


class ServiceError(RunError):
    """A service of published catalogs can't be reached, refused, or sent what can't be used."""


class StoreError(RunError):
    """A mosaic that was begun cannot be written on: no room, no permission, no answer."""


class ClusterError(RunError):
    """The cluster cannot be reached or started, or lost its workers."""


class TileError(RunError):
    """One tile failed.

    Parameters
    ----------
    tile
        Name of the tile, such as ``r003-c011``.
    stage
        ``cut`` or ``finish``.
    box
        Core of the tile, as text.
    reason
        What went wrong, in a line.
    """

    def __init__(self, tile: str, stage: str, box: str, reason: str) -> None:
        # All four go to Exception so that the error survives pickling between processes.
        super().__init__(tile, stage, box, reason)
        self.tile, self.stage, self.box, self.reason = tile, stage, box, reason

    def __str__(self) -> str:
        return f"tile {self.tile} failed in {self.stage} (box {self.box}): {self.reason}"


class LostSourcesError(RunError):
    """The catalog does not hold each input source exactly once."""


@contextmanager
def once_written(has_written: Callable[[], bool]) -> Iterator[None]:
    """Give what fails in a block the exit code 1 if the block, or what came before, has written.

    Parameters
    ----------
    has_written
        Asked when something fails.
    """
    try:
        yield
    except SurveyClassifierError as error:
        if has_written():
            error.exit_code = RunError.exit_code
        raise
