"""How much of an ingest is done at once: what memory, cores and open files allow.

Owns what a shard costs. Does not own the work (``ingest``).
"""

import os
import sys

from survey_classifier.errors import ConfigError
from survey_classifier.geometry import TileGrid
from survey_classifier.mosaic.layout import IngestPlan
from survey_classifier.mosaic.regrid import RESAMPLING_BYTES
from survey_classifier.mosaic.schema import SHARD_PX

__all__ = ["allow_files", "n_cpu", "n_threads", "shard_bytes"]

BYTES_PER_SHARD_PX = 64
"""Memory of a shard for each of its pixels, from reading to writing. Measured: up to 51, for images
without a core that are matched to another seeing, with variance."""


def n_threads(plan: IngestPlan) -> int:
    """Return how many shards are worked on at once: those that fit the memory, one a core.

    Parameters
    ----------
    plan
        The ingest.

    Raises
    ------
    ConfigError
        If not even one shard fits.
    """
    return min(n_cpu(), plan.memory_bytes // shard_bytes(plan))


def shard_bytes(plan: IngestPlan) -> int:
    """Return the memory that one shard of an ingest takes.

    Parameters
    ----------
    plan
        The ingest.

    Raises
    ------
    ConfigError
        If that is more than the ingest may take.
    """
    height, width = TileGrid(plan.shape, SHARD_PX).tile(0, 0).core.shape
    n_bytes = height * width * BYTES_PER_SHARD_PX
    if any(image.offset is None for image in plan.images):
        n_bytes += RESAMPLING_BYTES
    if n_bytes > plan.memory_bytes:
        raise ConfigError(
            f"memory_mib = {plan.memory_bytes >> 20} is too little for the ingest of {plan.store}: "
            f"a shard takes {n_bytes / 2**20:.0f}; give more"
        )
    return n_bytes


def n_cpu() -> int:
    """Return the number of cores that this process may use."""
    # Not everywhere is there a set of them; in a container it is smaller than the machine.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def allow_files(wanted: int) -> None:
    """Let this process have so many files open, as far as the system lets it ask for that.

    Parameters
    ----------
    wanted
        Number of files; what is allowed already stays so.
    """
    if sys.platform == "win32":  # has no such limit
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
