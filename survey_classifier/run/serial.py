"""The serial driver: the tile kernel in a loop, in this process.

Owns nothing but the order. It is the oracle of the cluster driver: same tiles, same rows.
"""

from collections.abc import Callable, Iterable

from survey_classifier.errors import TileError
from survey_classifier.model.scorer import TorchScorer
from survey_classifier.run.opened import mosaic_of
from survey_classifier.run.task import TileContext, TileFailure, TileReceipt, TileTask
from survey_classifier.run.tile import cut_tile, finish_tile

__all__ = ["run_serial"]


def run_serial(
    context: TileContext, tasks: Iterable[TileTask], on_receipt: Callable[[TileReceipt], None]
) -> list[TileFailure]:
    """Work on tiles one after the other.

    Parameters
    ----------
    context
        What all tiles share.
    tasks
        The tiles.
    on_receipt
        Called with the receipt of each finished tile.

    Returns
    -------
    list of TileFailure
        The tiles that failed; the others are finished.
    """
    scorer = TorchScorer.load(
        context.checkpoint, context.device, context.batch_size, context.checkpoint_digest
    )
    failures = []
    for task in tasks:
        try:
            cut = cut_tile(context, task, mosaic_of(task))
            on_receipt(finish_tile(context, cut, scorer))
        except TileError as error:
            failures.append(TileFailure.of(error))
    return failures
