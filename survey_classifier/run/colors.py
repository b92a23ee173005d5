"""Magnitudes and colors of a tile's sources, as a catalog holds them.

Owns the way from a source list's magnitudes to those columns: extinction off, over to the SDSS
system where another's are given, and the distance from the red sequence. Does not own any formula
(``membership``) nor the columns' meaning (``catalog.photometry_columns``).
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from survey_classifier.membership.color import ColorCuts, color_region, delta_rs, legacy_strip
from survey_classifier.membership.extinction import deredden, extinction_coefficient
from survey_classifier.membership.flags import Flag
from survey_classifier.membership.transforms import to_sdss
from survey_classifier.run.evidence_settings import SourcesSettings
from survey_classifier.sources.table import Sources

__all__ = ["photometry_columns", "photometry_flags"]

Floats = npt.NDArray[np.float64]
Columns = dict[str, npt.NDArray[np.generic]]
LEGACY_BANDS = ("g", "r", "z")


def photometry_columns(sources: Sources, settings: SourcesSettings, cuts: ColorCuts) -> Columns:
    """Return the columns of magnitudes, colors and what tells stars from galaxies.

    Parameters
    ----------
    sources
        n sources.
    settings
        Says what their magnitudes are.
    cuts
        The red sequence and the regions about it.
    """
    n = len(sources)
    ebv = _ebv(sources, settings)
    mag = {
        band: values if settings.dereddened else deredden(values, band, ebv, settings.system)
        for band, values in sources.mag.items()
    }
    sdss = to_sdss(mag, settings.system)
    unknown = np.full(n, np.nan)
    sequence = cuts.sequence
    distance, error = unknown, unknown
    if sequence.bands <= sdss.keys():
        color = sdss[sequence.blue] - sdss[sequence.red]
        distance = delta_rs(color, sdss[sequence.mag], cuts)
        error = sequence.delta_err(
            sources.mag_err.get(sequence.blue, unknown), sources.mag_err.get(sequence.red, unknown)
        )
    return {
        **{f"mag_{band}": values for band, values in mag.items()},
        **{f"magerr_{band}": values for band, values in sources.mag_err.items()},
        "point_likeness": sources.point_likeness,
        "gaia": sources.gaia,
        "ebv": ebv,
        "r0": sdss.get("r", unknown),
        "color_gz": sdss["g"] - sdss["z"] if {"g", "z"} <= sdss.keys() else unknown,
        "delta_rs": distance,
        "delta_rs_err": np.where(np.isnan(distance), np.nan, error),
        "color_region": color_region(distance, error, cuts).astype(object),
        "legacy_strip": _legacy(mag, ebv, settings, n).astype(object),
    }


def photometry_flags(
    sources: Sources, settings: SourcesSettings
) -> dict[Flag, npt.NDArray[np.bool_]]:
    """Return where magnitudes, or what frees them of extinction, are missing.

    A list without any magnitudes lacks none.

    Parameters
    ----------
    sources
        n sources.
    settings
        Says what their magnitudes are.
    """
    needs_ebv = bool(sources.mag) and not settings.dereddened
    missing = np.zeros(len(sources), dtype=np.bool_)
    for values in sources.mag.values():
        missing |= np.isnan(values)
    return {
        Flag.EBV_UNKNOWN: needs_ebv & np.isnan(_ebv(sources, settings)),
        Flag.MAGNITUDE_UNKNOWN: missing,
    }


def _ebv(sources: Sources, settings: SourcesSettings) -> Floats:
    """Return E(B-V) of each source."""
    return sources.ebv if settings.ebv is None else np.full(len(sources), settings.ebv)


def _legacy(
    mag: Mapping[str, Floats], ebv: Floats, settings: SourcesSettings, n: int
) -> npt.NDArray[np.str_]:
    """Return the side of the legacy strip, which is drawn in observed magnitudes of SDSS."""
    if settings.system != "sdss" or not mag.keys() >= set(LEGACY_BANDS):
        return np.full(n, "", dtype="U12")
    g, r, z = (mag[band] + extinction_coefficient(band, "sdss") * ebv for band in LEGACY_BANDS)
    return legacy_strip(r, g - z)
