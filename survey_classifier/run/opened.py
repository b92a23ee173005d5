"""The mosaics that a process works on: each is opened once, and the latest ones are kept.

Owns which mosaics stay open. Does not own what is read from them (``tile``).
"""

import threading
from functools import lru_cache

from survey_classifier.errors import MosaicError
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.run.task import TileTask
from survey_classifier.run.tile import stage

__all__ = ["mosaic_of"]

MAX_KEPT = 32
"""Tiles are worked on mosaic by mosaic, so few are in use at once; an open one is small."""

_OPENING = threading.Lock()


def mosaic_of(task: TileTask) -> Mosaic:
    """Return the mosaic of a tile, the very one that was planned with.

    Parameters
    ----------
    task
        The tile.

    Raises
    ------
    TileError
        If the mosaic cannot be opened, or is another by now.
    """
    with stage(task, "cut"), _OPENING:
        return _opened(task.pixels.store, task.pixels.digest)


@lru_cache(maxsize=MAX_KEPT)
def _opened(store: str, digest: str) -> Mosaic:
    mosaic = Mosaic.open(store)
    if mosaic.digest != digest:
        raise MosaicError(
            f"{store} on this worker is not the mosaic of the plan (digest {mosaic.digest[:12]}, "
            f"not {digest[:12]}); copy it again"
        )
    return mosaic
