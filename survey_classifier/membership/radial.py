"""The radial spectroscopic search: all objects with a spectrum around a center, labeled.

Owns the search and the labels. Does not own the redshifts (``sources.redshifts``), the classes
(``redshift``) nor the writing of the sample (``catalog.spectra``).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from survey_classifier.membership.redshift import (
    RedshiftCuts,
    ambiguous_lowz,
    dynamic_member,
    z_class,
)
from survey_classifier.sources.cone import Cone
from survey_classifier.sources.redshifts import Redshifts
from survey_classifier.sources.sky import separation_deg

__all__ = ["radial_sample"]


def radial_sample(
    redshifts: Redshifts,
    center_deg: tuple[float, float],
    radius_deg: float,
    cuts: RedshiftCuts | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Return all objects with a spectrum within a circle, from its center outward.

    Parameters
    ----------
    redshifts
        The objects.
    center_deg
        ICRS right ascension and declination of the center.
    radius_deg
        Radius of the circle, inclusive; 0 < radius <= 180.
    cuts
        Windows and velocity cut of the cluster; by default those of Perseus.

    Returns
    -------
    dict of ndarray
        Columns of shape (n,): ``source_id`` (the object's id), ``ra``, ``dec``, ``z``, ``z_err``,
        ``z_warning``, ``spec_class``, ``z_source``, ``z_class``, ``dynamic_member``,
        ``ambiguous_lowz`` (0 or 1), ``radius_deg`` and ``label``: the ``z_class``, but of an object
        that is ambiguous at low redshift ``cluster`` if it is a dynamic member, else ''. Objects
        without a position are left out.

    Raises
    ------
    ConfigError
        If center and radius are no circle on the sky.
    """
    cuts = cuts or RedshiftCuts()
    cone = Cone(*center_deg, radius_deg)
    apart = separation_deg(redshifts.ra_deg, redshifts.dec_deg, cone.ra_deg, cone.dec_deg)
    rows = np.flatnonzero(apart <= radius_deg)
    rows = rows[np.argsort(apart[rows], kind="stable")]
    z, spec_class = redshifts.z[rows], redshifts.spec_class[rows]
    classes, member = z_class(z, cuts).astype(object), dynamic_member(z, cuts)
    ambiguous = ambiguous_lowz(z, spec_class, cuts)
    of_ambiguous = np.where(member == 1, "cluster", "").astype(object)
    return {
        "source_id": redshifts.object_id[rows],
        "ra": redshifts.ra_deg[rows],
        "dec": redshifts.dec_deg[rows],
        "z": z,
        "z_err": redshifts.z_err[rows],
        "z_warning": redshifts.z_warning[rows],
        "spec_class": spec_class,
        "z_source": redshifts.z_source[rows],
        "z_class": classes,
        "dynamic_member": member,
        "ambiguous_lowz": ambiguous.astype(np.int16),
        "radius_deg": apart[rows],
        "label": np.where(ambiguous, of_ambiguous, classes),
    }
