"""What is worth a line about the images of mosaics, before these are made.

Owns the words. Does not own what files may lack (the readers) nor the plan of an ingest
(``layout``).
"""

from collections.abc import Iterable

from survey_classifier.mosaic.layout import IngestPlan
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.words import counted

__all__ = ["remarks"]

N_NAMED = 3
"""Files that a line names."""


def remarks(laid_out: Iterable[IngestPlan | Mosaic]) -> tuple[str, ...]:
    """Return a line for each thing that files of a band lack, and that others of its kind have.

    Parameters
    ----------
    laid_out
        What `plan_or_open` returned; there is nothing to say about finished mosaics.
    """
    plans = [item for item in laid_out if isinstance(item, IngestPlan)]
    n_files: dict[str, int] = {}
    lacking: dict[tuple[str, str], list[str]] = {}
    for exposure in (image.exposure for plan in plans for image in plan.images):
        band = exposure.band.name
        n_files[band] = n_files.get(band, 0) + 1
        for what in exposure.lacks:
            lacking.setdefault((band, what), []).append(exposure.path.name)
    return tuple(
        f"band {band}: {len(names)} of {counted(n_files[band], 'file')} without {what}: "
        f"{', '.join(names[:N_NAMED])}{', ...' if len(names) > N_NAMED else ''}"
        for (band, what), names in lacking.items()
    )
