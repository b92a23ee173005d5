"""Redshifts and the sources they belong to, by name or by position.

Owns what a match is, when it is ambiguous, and what is said of a table that gives none. Does not
own the redshifts (``redshifts``), nor what they mean for membership (``membership.redshift``).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import SourcesError
from survey_classifier.sources.redshifts import Redshifts
from survey_classifier.sources.sky import nearest_within, on_unit_sphere, separation_deg
from survey_classifier.words import counted

__all__ = ["RedshiftMatch", "match_lines", "match_redshifts"]

_MAX_RADIUS_ARCSEC = 3600.0
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class RedshiftMatch:
    """For each source the redshift that is its own."""

    index: npt.NDArray[np.int64]
    """Row of the redshift, shape (n_source,); -1 = none."""
    separation_arcsec: npt.NDArray[np.float32]
    """Distance to it in arcsec, shape (n_source,); NaN = none, or one of them has no position."""
    ambiguous: npt.NDArray[np.bool_]
    """Shape (n_source,); see :func:`match_redshifts`."""


def match_redshifts(
    sources_ra: FloatArray,
    sources_dec: FloatArray,
    redshifts: Redshifts,
    radius_arcsec: float | Mapping[str, float],
    sources_id: npt.NDArray[np.object_] | None = None,
) -> RedshiftMatch:
    """Match each source to its redshift: that of its name, else the nearest on the sky.

    A redshift with the ``source_id`` of a source is that source's, however far. Every other one
    that has a position is matched by it, also one of which the list has not the ``source_id``.

    A match by position is ambiguous when more than one redshift lies within the radius, or when
    its redshift is the nearest of several sources; all of these sources are marked.

    Parameters
    ----------
    sources_ra, sources_dec
        ICRS positions in degrees, shape (n,); a source with NaN matches nothing by position.
    redshifts
        The objects to match to.
    radius_arcsec
        Largest separation of a match by position in arcsec, inclusive; 0 < radius <= 3600. One
        for all, or one for each table by its name; that of `Redshifts.z_source` counts.
    sources_id
        Names of the sources, shape (n,), unique; without them no redshift is matched by name.

    Raises
    ------
    SourcesError
        If a radius is outside that range, or a table has none.
    """
    radius_of = _radii(redshifts, radius_arcsec)
    n_source = len(sources_ra)
    named = _source_of(redshifts.source_id, sources_id)
    index = np.full(n_source, -1, dtype=np.int64)
    separation = np.full(n_source, np.nan)
    ambiguous = np.zeros(n_source, dtype=np.bool_)
    located = np.flatnonzero(np.isfinite(sources_ra) & np.isfinite(sources_dec))
    on_sky = np.isfinite(redshifts.ra_deg) & np.isfinite(redshifts.dec_deg)
    targets = np.flatnonzero((named < 0) & on_sky)
    if len(located) and len(targets):
        points = on_unit_sphere(sources_ra[located], sources_dec[located])
        near, n_near, separation[located] = _nearest(points, redshifts, targets, radius_of)
        index[located] = near
        n_claims = np.bincount(near[near >= 0], minlength=len(redshifts))
        ambiguous[located] = (n_near > 1) | ((near >= 0) & (n_claims[near] > 1))
    row = np.flatnonzero(named >= 0)
    source = named[row]
    index[source], ambiguous[source] = row, False
    theirs = redshifts.ra_deg[row], redshifts.dec_deg[row]
    separation[source] = 3600 * separation_deg(sources_ra[source], sources_dec[source], *theirs)
    return RedshiftMatch(index, separation.astype(np.float32), ambiguous)


def match_lines(redshifts: Redshifts, match: RedshiftMatch) -> list[str]:
    """Say for each table how many sources got a redshift of it, or that none did.

    Parameters
    ----------
    redshifts
        The objects.
    match
        Their match to the sources.
    """
    n_source = np.bincount(match.index[match.index >= 0], minlength=len(redshifts))
    lines = []
    for table in redshifts.tables:
        rows = counted(table.n_row, "row")
        n_here = int(n_source[table.objects].sum())
        if not table.n_row:
            said = "it has no rows"
        elif not table.n_spectrum:
            said = f"none of its {rows} has a redshift and a place; are the columns right?"
        elif not n_here:
            objects = counted(len(table.objects), "object")
            said = f"no source of the list is among its {objects}; is it of another field?"
        else:
            spectra = "spectrum" if table.n_spectrum == 1 else "spectra"
            said = (
                f"{rows}, {table.n_spectrum} {spectra} of {counted(len(table.objects), 'object')}, "
                f"{counted(n_here, 'source')} with a redshift"
            )
        lines.append(f"redshifts {table.name}: {said}")
    return lines


def _radii(redshifts: Redshifts, given: float | Mapping[str, float]) -> Mapping[str, float]:
    """Return the radius of each table that a redshift is of."""
    names = dict.fromkeys(redshifts.z_source)
    if isinstance(given, Mapping):
        missing = [name for name in names if name not in given]
        if missing:
            raise SourcesError(f"the redshifts {missing[0]!r} have no match radius: give one")
    radius_of = given if isinstance(given, Mapping) else dict.fromkeys(names, given)
    for radius in radius_of.values() if isinstance(given, Mapping) else (given,):
        if not 0 < radius <= _MAX_RADIUS_ARCSEC:
            raise SourcesError(
                f"the match radius is {radius} arcsec: give 0 < radius <= {_MAX_RADIUS_ARCSEC:g}"
            )
    return radius_of


def _source_of(
    wanted: npt.NDArray[np.object_], sources_id: npt.NDArray[np.object_] | None
) -> npt.NDArray[np.int64]:
    """Return the row of the source that each redshift names; -1 = none."""
    source = np.full(len(wanted), -1, dtype=np.int64)
    rows = {name: row for row, name in enumerate(wanted) if name}
    if sources_id is not None and rows:
        for number, name in enumerate(sources_id):
            row = rows.get(name)
            if row is not None:
                source[row] = number
    return source


def _nearest(
    points: FloatArray,
    redshifts: Redshifts,
    targets: npt.NDArray[np.int64],
    radius_of: Mapping[str, float],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray]:
    """Return the nearest of some redshifts, each within its own radius, as `nearest_within`."""
    vectors = on_unit_sphere(redshifts.ra_deg[targets], redshifts.dec_deg[targets])
    near = np.full(len(points), -1, dtype=np.int64)
    n_near = np.zeros(len(points), dtype=np.int64)
    separation = np.full(len(points), np.nan)
    radius = np.array([radius_of[name] for name in redshifts.z_source[targets]])
    for one in np.unique(radius):
        own = np.flatnonzero(radius == one)
        nearest, n_own, distance = nearest_within(points, vectors[own], one)
        # A comparison with NaN is false; of equally near ones the first radius is kept.
        closer = (nearest >= 0) & ~(separation <= distance)
        near[closer] = targets[own[nearest[closer]]]
        separation[closer] = distance[closer]
        n_near += n_own
    return near, n_near, separation
