"""A run's list of detected sources: whether it is there, and what is taken from it.

Owns its fingerprint and its reading. Does not own its making (``detect``).
"""

import hashlib
import json
from collections.abc import Sequence

from survey_classifier.catalog.detections import detected_bands
from survey_classifier.catalog.parts import read_fingerprint
from survey_classifier.catalog.read import column_names
from survey_classifier.errors import SourcesError
from survey_classifier.membership.extinction import EXTINCTION
from survey_classifier.mosaic.layout import IngestPlan
from survey_classifier.mosaic.pixels import BandInfo, band_index
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.run.config import RunConfig
from survey_classifier.sources.table import SourceColumns, Sources, read_sources

__all__ = ["bands_used", "detected_sources", "detection_fingerprint", "is_current", "named"]


def is_current(config: RunConfig, mosaics: Sequence[Mosaic]) -> bool:
    """Return whether the list of detected sources is there, of these pixels and settings."""
    path = config.detected_path
    return path.exists() and read_fingerprint(path) == detection_fingerprint(config, mosaics)


def detected_sources(config: RunConfig) -> Sources:
    """Read a run's list of detected sources.

    Magnitudes are taken of the bands whose extinction is known, if ``[sources]`` says E(B-V) or
    that there is none to correct for.

    Raises
    ------
    SourcesError
        If there is none yet, or it cannot be read.
    """
    path = config.detected_path
    if not path.exists():
        raise SourcesError(
            f"no sources are detected yet (there is no {path}); run detect or classify first"
        )
    settings = config.sources
    bands: list[str] = []
    if settings.dereddened or settings.knows_ebv:
        known = EXTINCTION[settings.system]
        bands = [
            band
            for band in detected_bands(column_names(path))
            if settings.dereddened or band in known
        ]
    columns = SourceColumns(
        mag={band: f"mag_{band}" for band in bands},
        mag_err={band: f"magerr_{band}" for band in bands},
        point_likeness="point_likeness",
    )
    return read_sources(path, columns)


def detection_fingerprint(config: RunConfig, mosaics: Sequence[Mosaic]) -> str:
    """Return the SHA-256 over all that changes the list."""
    content = {
        "detect": config.detect.changing_results(),
        "bands": bands_used(config, mosaics),
        "mosaics": sorted((mosaic.name, mosaic.digest) for mosaic in mosaics),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def bands_used(config: RunConfig, mosaics: Sequence[IngestPlan | Mosaic]) -> tuple[str, ...]:
    """Return the bands that are used: those that the run names, or all of the first mosaic by name.

    Parameters
    ----------
    config
        The run file.
    mosaics
        Its mosaics, finished or only planned, at least one.
    """
    if config.mosaic.bands is not None:
        return config.mosaic.bands
    first = min(mosaics, key=lambda mosaic: mosaic.name)
    return tuple(band.name for band in first.bands)


def named(mosaic: IngestPlan | Mosaic, names: Sequence[str]) -> list[BandInfo]:
    """Return the bands of a mosaic that have some names.

    Raises
    ------
    MosaicError
        If one is missing.
    """
    index = band_index(mosaic.bands, names, mosaic.name)
    return [mosaic.bands[number] for number in index]
