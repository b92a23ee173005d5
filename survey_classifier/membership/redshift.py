"""What a redshift says about membership by cuts: windows in z, and the velocity cut.

Owns the cuts and their defaults (Perseus). Does not read or match redshifts
(``sources.redshifts``), nor say how likely a member is (``redshift_evidence``); a class never
changes the score of the image.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import ConfigError

__all__ = [
    "SPEED_OF_LIGHT_KM_S",
    "UNKNOWN_MEMBER",
    "RedshiftCuts",
    "ambiguous_lowz",
    "dynamic_member",
    "velocity_offset_km_s",
    "z_class",
]

SPEED_OF_LIGHT_KM_S = 299792.458
UNKNOWN_MEMBER = -1
"""Value of ``dynamic_member`` where there is no redshift."""
_FASTEST_STAR_KM_S = 1000.0
"""Faster than the escape speed of the Galaxy, about 530 km/s here (Piffl et al. 2014), and than all
but one or two of the stars that leave it (Brown 2015)."""


@dataclass(frozen=True, slots=True)
class RedshiftCuts:
    """Cuts in redshift; the defaults are those of the Perseus cluster.

    The windows are those of Pruitt & Romanowsky; the velocity cut follows Aguerri et al. (2020).

    Raises
    ------
    ConfigError
        Unless 0 < star_max_z < z_cluster < cluster_max_z, sigma_km_s > 0 and n_sigma > 0.
    """

    star_max_z: float = 0.01
    """Below this redshift an object is a star."""
    cluster_max_z: float = 0.033
    """From ``star_max_z`` to below this redshift it belongs to the cluster's window."""
    z_cluster: float = 0.01754
    """Redshift of the cluster."""
    sigma_km_s: float = 1040.0
    """Velocity dispersion of the cluster in km/s, in its rest frame."""
    n_sigma: float = 3.0
    """Half width of the velocity cut in dispersions."""

    def __post_init__(self) -> None:
        if not 0 < self.star_max_z < self.z_cluster < self.cluster_max_z < np.inf:
            raise ConfigError(
                f"star_max_z {self.star_max_z}, z_cluster {self.z_cluster}, cluster_max_z "
                f"{self.cluster_max_z}: give 0 < star_max_z < z_cluster < cluster_max_z"
            )
        for name, value in (("sigma_km_s", self.sigma_km_s), ("n_sigma", self.n_sigma)):
            if not 0 < value < np.inf:
                raise ConfigError(f"{name} is {value}: give a number > 0")

    def moved(self, z_cluster: float | None, sigma_km_s: float | None) -> "RedshiftCuts":
        """Return the cuts of another cluster; its window ends as far behind it as this one's.

        Parameters
        ----------
        z_cluster
            Its redshift; None = the same.
        sigma_km_s
            Its velocity dispersion; None = the same.

        Raises
        ------
        ConfigError
            If these are no cuts, as for a cluster that is nearer than ``star_max_z``.
        """
        z = self.z_cluster if z_cluster is None else z_cluster
        return replace(
            self,
            z_cluster=z,
            cluster_max_z=self.cluster_max_z + (z - self.z_cluster),
            sigma_km_s=self.sigma_km_s if sigma_km_s is None else sigma_km_s,
        )


def z_class(z: npt.ArrayLike, cuts: RedshiftCuts) -> npt.NDArray[np.str_]:
    """Return ``star``, ``cluster`` or ``background`` by windows in redshift.

    The windows are half-open: ``star`` z < star_max_z <= ``cluster`` < cluster_max_z <=
    ``background``. A galaxy just below star_max_z is a "star" here and may still be a
    :func:`dynamic_member`.

    Parameters
    ----------
    z
        Redshifts, shape (n,); NaN = unknown.
    cuts
        The windows.

    Returns
    -------
    ndarray of str
        Shape (n,); '' where z is unknown.
    """
    redshift = np.asarray(z, dtype=np.float64)
    windows = [redshift < cuts.star_max_z, redshift < cuts.cluster_max_z, np.isfinite(redshift)]
    return np.select(windows, ["star", "cluster", "background"], default="")


def velocity_offset_km_s(z: npt.ArrayLike, cuts: RedshiftCuts) -> npt.NDArray[np.float64]:
    """Return the line-of-sight velocity in the cluster's rest frame, c (z - z_cl) / (1 + z_cl).

    Parameters
    ----------
    z
        Redshifts, shape (n,); NaN = unknown, and so is the result.
    cuts
        Holds the cluster's redshift.
    """
    redshift = np.asarray(z, dtype=np.float64)
    return SPEED_OF_LIGHT_KM_S * (redshift - cuts.z_cluster) / (1 + cuts.z_cluster)


def dynamic_member(z: npt.ArrayLike, cuts: RedshiftCuts) -> npt.NDArray[np.int16]:
    """Return 1 where the velocity is within ``n_sigma`` dispersions of the cluster's, else 0.

    Parameters
    ----------
    z
        Redshifts, shape (n,); NaN = unknown.
    cuts
        The velocity cut.

    Returns
    -------
    ndarray of int16
        Shape (n,); -1 where z is unknown.
    """
    offset = np.abs(velocity_offset_km_s(z, cuts))
    member = offset < cuts.n_sigma * cuts.sigma_km_s
    return np.where(np.isnan(offset), UNKNOWN_MEMBER, member).astype(np.int16)


def ambiguous_lowz(
    z: npt.ArrayLike, spec_class: npt.NDArray[np.object_], cuts: RedshiftCuts
) -> npt.NDArray[np.bool_]:
    """Return where :func:`z_class` says "star" of what is more probably a galaxy.

    These are spectra of galaxies (class GALAXY, in any case) with z < ``star_max_z``, also those
    with z < 0; and spectra of no known class that recede faster than 1000 km/s, as no star does.

    Parameters
    ----------
    z
        Redshifts, shape (n,); NaN = unknown, and not ambiguous.
    spec_class
        Class of the spectrum, shape (n,); '' = unknown.
    cuts
        Holds ``star_max_z``.

    Returns
    -------
    ndarray of bool
        Shape (n,).
    """
    redshift = np.asarray(z, dtype=np.float64)
    ambiguous = np.zeros(redshift.shape, dtype=np.bool_)
    low = np.flatnonzero(redshift < cuts.star_max_z)  # of a survey's sources few are
    names = [str(name).upper() for name in spec_class[low]]
    is_fast = SPEED_OF_LIGHT_KM_S * redshift[low] > _FASTEST_STAR_KM_S
    ambiguous[low] = [
        name == "GALAXY" or (name == "" and fast) for name, fast in zip(names, is_fast, strict=True)
    ]
    return ambiguous
