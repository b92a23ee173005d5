"""The main job: from a run file to a published catalog.

Owns the order: check, ingest what is missing, plan, resume, run, publish, report. Does not own
any of those steps.
"""

from pathlib import Path

from survey_classifier.catalog.parts import done_parts
from survey_classifier.errors import ConfigError, once_written
from survey_classifier.model.checkpoint import read_card
from survey_classifier.model.inputs import require_mosaic
from survey_classifier.model.shipped import resolve_checkpoint
from survey_classifier.mosaic.backlog import Ingested
from survey_classifier.mosaic.layout import IngestPlan
from survey_classifier.mosaic.planning import plan_or_open
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.run.claim import check_place, claimed
from survey_classifier.run.config import RunConfig, as_run
from survey_classifier.run.detect import find_sources, require_detectable
from survey_classifier.run.inputs import Inputs, objects_with_redshifts, read_inputs
from survey_classifier.run.listener import Listener
from survey_classifier.run.making import make_mosaics
from survey_classifier.run.plan import plan
from survey_classifier.run.receipt import RunReceipt
from survey_classifier.run.truth import Truth
from survey_classifier.run.work import Workers, publish_only, work_off

__all__ = ["classify", "ingest", "publish"]


def classify(
    run: str | Path | RunConfig, *, cluster: str | None = None, listener: Listener | None = None
) -> RunReceipt:
    """Classify every source of a run: ingest, plan, run, publish and report.

    A second call goes on where the first one stopped; a finished run is only published again.

    Parameters
    ----------
    run
        A run file, or one that was read already.
    cluster
        Takes the place of ``cluster.kind``: ``serial``, ``local``, ``cuda`` or an address.
    listener
        Told of the progress.

    Returns
    -------
    RunReceipt
        Counts of what became of the sources; `RunReceipt.exit_code` says whether all went well.

    Raises
    ------
    InputError
        Of the kind that fits, as a rule before anything is written; its exit code says so.
    ClusterError
        If the cluster cannot be used.
    LostSourcesError
        If the catalog would not hold each source once.
    """
    config = as_run(run)
    listener = Listener() if listener is None else listener
    settings = config.cluster_on(cluster)
    inputs = None if config.sources.detect else read_inputs(config)
    check_place(config, settings)
    if inputs is None:
        mosaics, has_written = _searched(config, listener)
    else:
        mosaics, has_written = _made(inputs, listener)
    with once_written(lambda: has_written):
        laid_out = plan(config, inputs, mosaics)
        for line in laid_out.remarks:
            listener.say(line)
        with claimed(config), Workers(settings, listener) as workers:
            return work_off(laid_out, workers, listener)


def ingest(
    run: str | Path | RunConfig, *, cluster: str | None = None, listener: Listener | None = None
) -> list[Ingested]:
    """Make the mosaics of a run, or open those that are there; only ``[mosaic]`` is used.

    Parameters
    ----------
    run
        A run file, or one that was read already.
    cluster
        Where the shards are made: by default, and with ``serial``, in threads of this process;
        ``local`` or the address of a scheduler in its workers, which then need the files and
        the stores under the same paths. Not taken from the run file, which is for the tiles.
    listener
        Told of the progress.

    Returns
    -------
    list of Ingested
        The mosaics, sorted by place, and what was done for each.

    Raises
    ------
    MosaicError
        If an image or a store cannot be used.
    ClusterError
        If the cluster cannot be used.
    """
    config = as_run(run)
    told = Listener() if listener is None else listener
    settings = config.cluster_on(cluster or "serial")
    if settings.kind == "cuda":
        raise ConfigError("an ingest needs no GPU: its cluster is serial, local or an address")

    laid_out = plan_or_open(config.mosaic, config.folder)
    plans = [item for item in laid_out if isinstance(item, IngestPlan)]
    if settings.kind == "serial" or not plans:
        return make_mosaics(laid_out, told)
    # Imported here: threads need no dask.
    from survey_classifier.run.cluster import ingest_executor

    with ingest_executor(settings, plans) as executor:
        return make_mosaics(laid_out, told, executor)


def _made(inputs: Inputs, listener: Listener) -> tuple[list[Mosaic], bool]:
    """Return the run's mosaics, checked to fit before any is ingested; say if any was."""
    config = inputs.config
    laid_out = plan_or_open(config.mosaic, config.folder)
    for mosaic in laid_out:
        inputs.require(mosaic)
    inputs.n_on(laid_out)
    if any(isinstance(item, IngestPlan) for item in laid_out):
        done_parts(config.parts_folder, inputs.fingerprint)  # refuses those of another run
    made = make_mosaics(laid_out, listener)
    return [item.mosaic for item in made], any(item.n_written for item in made)


def _searched(config: RunConfig, listener: Listener) -> tuple[list[Mosaic], bool]:
    """Return the run's mosaics, on which its sources are detected; say if any of it is new."""
    # What is wrong with the other inputs must not be found out after all the work.
    objects_with_redshifts(config)
    Truth.read(config)
    card = read_card(resolve_checkpoint(config.checkpoint, config.folder))
    laid_out = plan_or_open(config.mosaic, config.folder)
    for mosaic in laid_out:
        require_mosaic(card, mosaic, config.mosaic.bands)
    require_detectable(config, laid_out)
    made = make_mosaics(laid_out, listener)
    mosaics, has_written = [item.mosaic for item in made], any(item.n_written for item in made)
    with once_written(lambda: has_written), claimed(config):
        return mosaics, find_sources(config, mosaics, listener) or has_written


def publish(run: str | Path | RunConfig) -> RunReceipt:
    """Publish and report what a run has finished so far, without working on any tile.

    Parameters
    ----------
    run
        The run file, or the ``run.toml`` in the run's output folder.

    Raises
    ------
    InputError
        If the run's inputs are not there any more, or its parts belong to another run.
    """
    config = as_run(run)
    laid_out = plan(config)
    with claimed(config):
        return publish_only(laid_out)
