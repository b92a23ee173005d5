"""What an ingest has to do: which stores are finished, and the plans of the others.

Owns the comparison of stores with the files that they are to be made of. Does not own which files
there are (``inputs``), the plan of one store (``layout``) nor the work (``ingest``).

A shard is to be made when it is missing, or when its files are others than before: so a killed
ingest is resumed, and a band or an image that came later is added.
"""

from collections.abc import Sequence
from pathlib import Path

from survey_classifier.errors import MosaicError
from survey_classifier.mosaic.inputs import (
    StoreInputs,
    grouped_inputs,
    mosaic_stores,
    require_files,
    stores_there,
)
from survey_classifier.mosaic.layout import IngestPlan, lay_out
from survey_classifier.mosaic.mosaic_settings import MosaicSettings
from survey_classifier.mosaic.place import Place
from survey_classifier.mosaic.readers import SELECT
from survey_classifier.mosaic.seal import is_finished
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.mosaic.writer import MosaicWriter

__all__ = ["plan_ingests", "plan_or_open", "plan_store"]


def plan_ingests(settings: MosaicSettings, folder: Path) -> list[IngestPlan]:
    """Open every input and lay out the mosaics.

    Parameters
    ----------
    settings
        The ``[mosaic]`` table.
    folder
        What its paths are relative to.

    Raises
    ------
    MosaicError
        If there are no inputs, or one cannot be used.
    """
    if not settings.inputs:
        raise MosaicError(f"no store at {settings.store} and no [[mosaic.inputs]] to make it of")
    groups = grouped_inputs(settings, folder)
    require_files(groups, settings, folder)
    return [_checked(lay_out(settings, group), group) for group in groups]


def plan_or_open(settings: MosaicSettings, folder: Path) -> list[IngestPlan | Mosaic]:
    """Return the mosaics that are finished, and of the others what their ingest will do.

    A finished store does not need its images: if none of them is there any more, it is opened.

    Parameters
    ----------
    settings
        The ``[mosaic]`` table of a run file.
    folder
        What its paths are relative to.

    Raises
    ------
    MosaicError
        If an input cannot be used, or a finished store was made of files that are gone.
    """
    groups = {group.store: group for group in _groups(settings, folder)}
    if groups:
        stores = sorted({*groups, *stores_there(settings, folder)})
    else:
        stores = mosaic_stores(settings, folder)
    if settings.inputs and not _all_finished(stores):
        require_files(list(groups.values()), settings, folder)
    found: list[IngestPlan | Mosaic] = []
    for store in stores:
        group = groups.get(store)
        if group is None or not group.files:
            found.append(_opened(store, settings, folder))
            continue
        found.append(plan_store(settings, group))
    return found


def plan_store(
    settings: MosaicSettings, group: StoreInputs, *, partial: bool = False
) -> IngestPlan | Mosaic:
    """Return a store if it is made of its files as they are, else what its ingest will do.

    Parameters
    ----------
    settings
        The ``[mosaic]`` table of a run file.
    group
        The store and its files, at least one.
    partial
        Whether more files are to come.

    Raises
    ------
    MosaicError
        If a file cannot be used, or the store was made of files that are gone.
    """
    plan = _checked(lay_out(settings, group, partial=partial), group)
    return Mosaic.open(group.store) if _is_up_to_date(plan) else plan


def _groups(settings: MosaicSettings, folder: Path) -> list[StoreInputs]:
    return grouped_inputs(settings, folder) if settings.inputs else []


def _all_finished(stores: Sequence[str]) -> bool:
    return all(Place.of(store).exists() and is_finished(store) for store in stores)


def _opened(store: str, settings: MosaicSettings, folder: Path) -> Mosaic:
    """Open a store that has no files any more."""
    if not Place.of(store).exists() and settings.inputs:
        plan_ingests(settings, folder)  # says which input has no file
    return Mosaic.open(store)


def _is_up_to_date(plan: IngestPlan) -> bool:
    """Return whether the store is sealed and every shard is made of what it is planned to be."""
    if not Place.of(plan.store).exists():
        return False
    writer = MosaicWriter.open(plan.store)
    return writer.is_sealed_as(plan.layout) and next(writer.pending(plan.inputs), None) is None


def _checked(plan: IngestPlan, group: StoreInputs) -> IngestPlan:
    """Refuse an ingest whose store was made of images that are gone: they would be erased."""
    if not Place.of(plan.store).exists():
        return plan
    made_of = MosaicWriter.files_of(plan.store)
    for band in plan.bands:
        gone = set(made_of.get(band.name, ())) - set(band.source_files) - set(plan.superseded)
        for reader in {entry.reader for entry, _ in group.files if entry.band == band.name}:
            gone = _newest(reader, gone, band.source_files)
        if gone:
            raise MosaicError(
                f"band {band.name} of {plan.store} was made of {min(gone)} too, which is not "
                "among the inputs any more; bring it back, or remove the store"
            )
    return plan


def _newest(reader: str, gone: set[str], present: Sequence[str]) -> set[str]:
    """Leave out the files that are gone because newer versions of them have come."""
    if reader not in SELECT:
        return gone
    kept = SELECT[reader]([Path(name) for name in (*gone, *present)])
    return gone & {path.name for path in kept}
