"""Watching a folder: files are ingested and their sources classified as they arrive.

Owns when a watch may begin, and when it ends. Does not own what is made of the files (``rounds``),
nor when a file counts (``mosaic.arrivals``).
"""

import math
import time
from dataclasses import dataclass
from pathlib import Path

from survey_classifier.catalog.parts import done_parts
from survey_classifier.errors import ConfigError, once_written
from survey_classifier.mosaic.arrivals import require_steady_grid, require_way_into
from survey_classifier.run.claim import check_place, claimed
from survey_classifier.run.config import RunConfig, as_run
from survey_classifier.run.inputs import read_inputs
from survey_classifier.run.listener import Listener
from survey_classifier.run.receipt import RunReceipt
from survey_classifier.run.rounds import Rounds
from survey_classifier.run.work import Workers

__all__ = ["POLL_SECONDS", "Watched", "watch"]

POLL_SECONDS = 5.0
"""Between two looks; a file that rests for so long while it is copied is looked at too early, and
again when it has grown."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What a watch has come to when it ended."""

    receipt: RunReceipt | None
    """Of the last round, None if nothing could be classified."""
    undone: tuple[str, ...]
    """What was left undone, a line each: files that cannot be used, stores that lack bands."""

    @property
    def exit_code(self) -> int:
        """0 if all went well, 1 if something failed or was left undone."""
        return 1 if self.receipt is None or self.undone else self.receipt.exit_code


def watch(
    run: str | Path | RunConfig,
    folder: str | Path,
    *,
    cluster: str | None = None,
    until_idle_seconds: float | None = None,
    poll_seconds: float = POLL_SECONDS,
    listener: Listener | None = None,
) -> Watched:
    """Ingest and classify files as they arrive in a folder.

    Parameters
    ----------
    run
        A run file, or one that was read already.
    folder
        Where files come to; the paths of the run's inputs lead into it.
    cluster
        Takes the place of ``cluster.kind``: ``serial``, ``local``, ``cuda`` or an address.
    until_idle_seconds
        End when nothing has changed for so long; by default only Ctrl-C ends it.
    poll_seconds
        Between two looks at the folder. A file counts when it has not changed between two.
    listener
        Told of the progress.

    Returns
    -------
    Watched
        The last receipt, and what was left undone.

    Raises
    ------
    InputError
        Of the kind that fits: the run cannot be done, or its mosaics would depend on the order in
        which files arrive.
    ClusterError
        If the cluster cannot be used.
    LostSourcesError
        If the catalog would not hold each source once.
    """
    config = as_run(run)
    if config.sources.detect:
        raise ConfigError(
            "sources.detect = true finds sources when all images are there: give sources.path to "
            "watch a folder, or classify without --watch at the end"
        )
    require_steady_grid(config.mosaic)
    require_way_into(Path(folder), config.mosaic, config.folder)
    told = Listener() if listener is None else listener
    settings = config.cluster_on(cluster)
    inputs = read_inputs(config)
    check_place(config, settings)
    with claimed(config), Workers(settings, told) as workers:
        done_parts(config.parts_folder, inputs.fingerprint)  # refuses those of another run
        rounds = Rounds(inputs, workers, told)
        told.say(f"watching {folder}; Ctrl-C ends it")
        _until_idle(rounds, poll_seconds, until_idle_seconds)
    return Watched(rounds.receipt, rounds.undone)


def _until_idle(rounds: Rounds, poll_seconds: float, until_idle_seconds: float | None) -> None:
    """Do round after round until nothing has changed for so long."""
    longest = math.inf if until_idle_seconds is None else until_idle_seconds
    quiet_since = time.monotonic()
    while True:
        with once_written(lambda: rounds.has_written):
            changed = rounds.arrivals.look()
            worked = rounds.go()
        if worked or changed:
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since >= longest:
            return
        time.sleep(poll_seconds)
