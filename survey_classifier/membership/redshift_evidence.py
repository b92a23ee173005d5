"""What a redshift says about membership by likelihood: the densities of members and of others.

Owns these densities and the evidence ``llr_redshift``. Does not own the cuts (``redshift``), nor
how the evidence is joined with others (``evidence``).
"""

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr

from survey_classifier.membership.redshift import SPEED_OF_LIGHT_KM_S, RedshiftCuts

__all__ = ["STAR_SHARE", "llr_redshift", "member_log_density", "other_log_density"]

FloatArray = npt.NDArray[np.float64]

_FAILURE_RATE, _FAILURE_RATE_WARNED, _FAILURE_RATE_UNKNOWN = 0.01, 0.5, 0.05
"""Share of wrong redshifts: without warning under 1 % in SDSS (Strauss et al. 2002, Bolton et al.
2012); with one, and without a word about it, what we assume."""
STAR_SHARE = 0.5
"""Of the others with a spectrum; 84 of 149 in SDSS spectra west of the Perseus cluster."""
_STAR_SIGMA_Z = 0.0005
"""150 km/s, the dispersion of the halo; the same stars scatter by 130 km/s."""
_BACKGROUND_Z, _APPROACH_Z = 0.1, 0.001
"""Scales of the redshifts of galaxies behind the cluster and before it; the mean of those at z >
0.033 is 0.105. So near the cluster their density is all but flat, and rather too high: profiles
that vanish toward z = 0 fit the tail better and would make the evidence stronger by 0.4 to 1.2."""
_LEAST_SHARE = 1e-12
"""Of stars or galaxies among the others: keeps logarithms finite."""
_TYPICAL_Z_ERR = 1e-4
"""30 km/s, where the uncertainty is unknown."""


def member_log_density(z: npt.ArrayLike, z_err: npt.ArrayLike, cuts: RedshiftCuts) -> FloatArray:
    """Return the natural log of the density of measured redshifts of members, per unit of z.

    A normal distribution about the cluster's redshift, of its dispersion and the error's.

    Parameters
    ----------
    z
        Redshifts, shape (n,).
    z_err
        Their uncertainty, shape (n,); NaN = unknown, taken for 1e-4.
    cuts
        Redshift and dispersion of the cluster.
    """
    sigma_cluster = cuts.sigma_km_s * (1 + cuts.z_cluster) / SPEED_OF_LIGHT_KM_S
    sigma = np.hypot(sigma_cluster, _errors(z_err))
    return _log_normal(np.asarray(z, dtype=np.float64) - cuts.z_cluster, sigma)


def other_log_density(
    z: npt.ArrayLike, z_err: npt.ArrayLike, star_share: npt.ArrayLike = STAR_SHARE
) -> FloatArray:
    """Return the natural log of the density of measured redshifts of others, per unit of z.

    A share of them, half by default, are stars, normal about z = 0 with 150 km/s. The rest are
    galaxies with an exponential distribution of scale 0.1 for z > 0, which goes on for z < 0 with
    a scale of 0.001. Both are convolved with the normal error; the exponentials' convolution is
    that of Grushka (1972). That the scales depend on the depth of the sample is left out.

    Parameters
    ----------
    z
        Redshifts, shape (n,).
    z_err
        Their uncertainty, shape (n,); NaN = unknown, taken for 1e-4.
    star_share
        Share of stars among the others, 0 to 1, shape (n,) or scalar.
    """
    redshift, error = np.asarray(z, dtype=np.float64), _errors(z_err)
    share = np.clip(np.asarray(star_share, dtype=np.float64), _LEAST_SHARE, 1 - _LEAST_SHARE)
    stars = _log_normal(redshift, np.hypot(_STAR_SIGMA_Z, error))
    # Each side has the share of its scale, so that the density has no step at z = 0.
    behind = _log_exponential(redshift, error, _BACKGROUND_Z) + np.log(_BACKGROUND_Z)
    before = _log_exponential(-redshift, error, _APPROACH_Z) + np.log(_APPROACH_Z)
    galaxies = np.logaddexp(behind, before) - np.log(_BACKGROUND_Z + _APPROACH_Z)
    return np.logaddexp(np.log(share) + stars, np.log1p(-share) + galaxies)


def llr_redshift(
    z: npt.ArrayLike,
    z_err: npt.ArrayLike,
    z_warning: npt.ArrayLike,
    cuts: RedshiftCuts,
    star_share: npt.ArrayLike = STAR_SHARE,
) -> FloatArray:
    """Return the evidence of the redshift: the log of how much likelier it is of a member.

    A share eps of redshifts is wrong, whatever the object is, and these are distributed as those
    of others. So with the densities of :func:`member_log_density` and :func:`other_log_density`

        llr = ln(eps + (1 - eps) p(z | member) / p(z | other))

    which is never below ln eps: -4.6 without a warning (eps = 0.01), -3.0 where it is not known
    whether there is one (0.05), -0.7 with a warning (0.5).

    Where more is known of how probable a star is than that half of the others are, it is the ratio

        (eps p(z | other) + (1 - eps) p(z | member)) / (eps p(z | other) + (1 - eps) p(z | other'))

    with the others' of that share of stars. So a redshift of the cluster, which no star has, is
    worth more of what looks like a star: at most ln(1 / eps) more.

    Parameters
    ----------
    z
        Redshifts, shape (n,); NaN = unknown, and so is the evidence.
    z_err
        Their uncertainty, shape (n,); NaN = unknown, taken for 1e-4.
    z_warning
        Warnings, shape (n,); 0 = none, negative = unknown.
    cuts
        Redshift and dispersion of the cluster.
    star_share
        Share of stars among nonmembers like each, 0 to 1, shape (n,) or scalar.

    Returns
    -------
    ndarray of float64
        Shape (n,), natural log.
    """
    redshift = np.asarray(z, dtype=np.float64)
    warning = np.asarray(z_warning)
    rates = [_FAILURE_RATE, _FAILURE_RATE_WARNED]
    eps = np.select([warning == 0, warning > 0], rates, default=_FAILURE_RATE_UNKNOWN)
    evidence = np.full(redshift.shape, np.nan)
    known = np.isfinite(redshift)
    value, error = redshift[known], np.asarray(z_err, dtype=np.float64)[known]
    share = np.broadcast_to(np.asarray(star_share, dtype=np.float64), redshift.shape)[known]
    wrong, right = np.log(eps[known]), np.log1p(-eps[known])
    any_other = other_log_density(value, error)
    member = member_log_density(value, error, cuts) - any_other
    other = other_log_density(value, error, share) - any_other
    evidence[known] = np.logaddexp(wrong, right + member) - np.logaddexp(wrong, right + other)
    return evidence


def _errors(z_err: npt.ArrayLike) -> FloatArray:
    error = np.asarray(z_err, dtype=np.float64)
    return np.where((error > 0) & (error < np.inf), error, _TYPICAL_Z_ERR)


def _log_normal(offset: FloatArray, sigma: FloatArray) -> FloatArray:
    return -0.5 * np.square(offset / sigma) - np.log(sigma) - 0.5 * np.log(2 * np.pi)


def _log_exponential(z: FloatArray, sigma: FloatArray, scale: float) -> FloatArray:
    """Return the log density of an exponential variable of some scale plus a normal error."""
    shift = sigma / scale
    log_tail: FloatArray = log_ndtr(z / sigma - shift)
    return 0.5 * np.square(shift) - z / scale + log_tail - np.log(scale)
