"""Making the mosaics of a run that are missing, before anything is done on them.

Owns what is told of an ingest. Does not own the ingest (``mosaic.ingest``) nor what it is for
(``classify``, ``detect``).
"""

from collections.abc import Sequence
from concurrent.futures import Executor

from survey_classifier.mosaic.backlog import Ingested
from survey_classifier.mosaic.ingest import carry_out
from survey_classifier.mosaic.layout import IngestPlan
from survey_classifier.mosaic.remarks import remarks
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.run.listener import Listener

__all__ = ["make_mosaics"]


def make_mosaics(
    laid_out: Sequence[IngestPlan | Mosaic], listener: Listener, executor: Executor | None = None
) -> list[Ingested]:
    """Make what `plan_or_open` found to be missing.

    Parameters
    ----------
    laid_out
        Ingests, and finished mosaics.
    listener
        Told what the images lack, and of the progress.
    executor
        Where the shards are made; by default in threads of this process.

    Returns
    -------
    list of Ingested
        In the same order.

    Raises
    ------
    MosaicError
        If an image or a store cannot be used.
    StoreError
        If a store cannot be written on.
    """
    for line in remarks(laid_out):
        listener.say(line)
    return carry_out(laid_out, lambda done, n: listener.progress("ingest", done, n), executor)
