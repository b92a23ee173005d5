"""Colors of simulated objects: red sequence, redshifted galaxy templates, stellar locus.

Owns the color tables. Does not own who gets which color at what magnitude (``population``).
All magnitudes are AB on the SDSS system, free of extinction, in the order of ``BANDS``.

The galaxy templates approximate the k-corrections of Fukugita, Shimasaku & Ichikawa (1995,
PASP 107, 945) and the stellar locus the one of Covey et al. (2007, AJ 134, 2398), both rounded:
they make a plausible sky, not a reference.
"""

import numpy as np
import numpy.typing as npt

from survey_classifier.membership.red_sequence import PERSEUS_GZ

__all__ = ["BANDS", "galaxy_colors", "member_colors", "star_colors", "v_minus_r"]

Float = npt.NDArray[np.float64]

BANDS = ("g", "r", "i", "z")

_REDSHIFT = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0])
# Rows irregular, spiral, elliptical; columns as _REDSHIFT.
_G_R = np.array(
    [
        [0.30, 0.36, 0.45, 0.55, 0.58, 0.50, 0.38, 0.30],
        [0.53, 0.66, 0.88, 1.05, 1.12, 1.05, 0.90, 0.75],
        [0.77, 0.98, 1.30, 1.55, 1.70, 1.80, 1.75, 1.60],
    ]
)
_R_I = np.array(
    [
        [0.10, 0.10, 0.13, 0.17, 0.25, 0.40, 0.45, 0.40],
        [0.26, 0.28, 0.30, 0.36, 0.47, 0.75, 0.85, 0.80],
        [0.39, 0.40, 0.48, 0.55, 0.70, 1.08, 1.35, 1.35],
    ]
)
_I_Z = np.array(
    [
        [0.05, 0.05, 0.05, 0.06, 0.08, 0.10, 0.20, 0.30],
        [0.15, 0.18, 0.20, 0.22, 0.24, 0.28, 0.40, 0.55],
        [0.25, 0.30, 0.32, 0.35, 0.37, 0.45, 0.65, 0.85],
    ]
)

_STAR_G_I = np.array([-0.2, 0.2, 0.6, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5])
_STAR_G_R = np.array([-0.10, 0.15, 0.44, 0.73, 1.08, 1.33, 1.41, 1.48, 1.55])
_STAR_I_Z = np.array([-0.12, -0.03, 0.05, 0.14, 0.22, 0.38, 0.60, 0.83, 1.07])

_RED_SEQUENCE_G_R, _RED_SEQUENCE_G_I = 0.544, 0.803
"""Shares of g-z: the pivots 0.747, 1.103 and 1.373 of the three red sequences."""


def v_minus_r(g_r: Float) -> Float:
    """Return V - r from g - r (Jester et al. 2005); 0.27 for a dwarf of the red sequence."""
    return 0.41 * g_r - 0.01


def member_colors(r0: Float, delta: Float, scatter: Float) -> Float:
    """Return magnitudes less r0 of cluster members.

    Parameters
    ----------
    r0
        Magnitudes, shape ``(n,)``.
    delta
        Offset in g-z from the red sequence, mag, shape ``(n,)``.
    scatter
        Independent offsets of g and i, mag, shape ``(n, 2)``.

    Returns
    -------
    ndarray of float64
        ``(g, r, i, z) - r``, shape ``(n, 4)``.
    """
    g_z = PERSEUS_GZ.color(r0) + delta
    g_r = _RED_SEQUENCE_G_R * g_z + scatter[:, 0]
    g_i = _RED_SEQUENCE_G_I * g_z + scatter[:, 1]
    return np.column_stack([g_r, np.zeros_like(g_r), g_r - g_i, g_r - g_z])


def galaxy_colors(kind: Float, redshift: Float, scatter: Float) -> Float:
    """Return magnitudes less r of field galaxies.

    Parameters
    ----------
    kind
        0 irregular, 1 spiral, 2 elliptical, interpolated between, shape ``(n,)``.
    redshift
        Shape ``(n,)``; colors beyond 1 stay those at 1.
    scatter
        Offsets of the three colors, mag, shape ``(n, 3)``.

    Returns
    -------
    ndarray of float64
        ``(g, r, i, z) - r``, shape ``(n, 4)``.
    """
    below = np.clip(kind.astype(np.int64), 0, 1)
    part = kind - below
    g_r, r_i, i_z = (
        (1 - part) * _at(table, below, redshift) + part * _at(table, below + 1, redshift)
        for table in (_G_R, _R_I, _I_Z)
    )
    g_r, r_i, i_z = g_r + scatter[:, 0], r_i + scatter[:, 1], i_z + scatter[:, 2]
    return np.column_stack([g_r, np.zeros_like(g_r), -r_i, -r_i - i_z])


def _at(table: Float, row: npt.NDArray[np.int64], redshift: Float) -> Float:
    """Interpolate each galaxy's row of a template table at its redshift."""
    rows = np.array([np.interp(redshift, _REDSHIFT, values) for values in table])
    return rows[row, np.arange(len(row))]


def star_colors(g_i: Float, scatter: Float) -> Float:
    """Return magnitudes less r of stars on the locus.

    Parameters
    ----------
    g_i
        Color along the locus, mag, shape ``(n,)``.
    scatter
        Offsets of g-r and i-z, mag, shape ``(n, 2)``.

    Returns
    -------
    ndarray of float64
        ``(g, r, i, z) - r``, shape ``(n, 4)``.
    """
    g_r = np.interp(g_i, _STAR_G_I, _STAR_G_R) + scatter[:, 0]
    i_z = np.interp(g_i, _STAR_G_I, _STAR_I_Z) + scatter[:, 1]
    return np.column_stack([g_r, np.zeros_like(g_r), g_r - g_i, g_r - g_i - i_z])
