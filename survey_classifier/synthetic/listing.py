"""What an observer writes down about the simulated field: sources, redshifts and the truth.

Owns measurement errors, spectroscopic incompleteness and the columns of the three tables. Does
not own the objects (``population``) or where the files go (``field``).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey_classifier.synthetic.colors import BANDS
from survey_classifier.synthetic.exposure import FILTERS, GAIN, SCALE_ARCSEC, ZERO_POINT
from survey_classifier.synthetic.population import Population

__all__ = ["Listed", "redshift_table", "source_table", "truth_table"]

Float = npt.NDArray[np.float64]
Table = Mapping[str, list[str]]

_POSITION_ERROR_ARCSEC = 0.03
_SPECTRUM_ERROR_ARCSEC = 0.10
_CALIBRATION_ERROR = 0.015
_LOST_SHARE = 0.01
"""Share of the magnitudes that a photometry pipeline gives up on."""
_DETECTION_SNR = 3.0

_SPECTRA_LIMIT_R = 18.5
_SPECTRA_SHARE = {"member": 0.8, "background": 0.7, "star": 0.06}
_REPEATED_SHARE, _WARNING_SHARE = 0.15, 0.03


@dataclass(frozen=True, slots=True)
class Listed:
    """The objects of the source list, one row each, in the list's order.

    Raises
    ------
    ValueError
        If the arrays differ in length.
    """

    population: Population
    x_px: Float
    y_px: Float
    ra_deg: Float
    dec_deg: Float
    ebv: Float
    """E(B-V) of the dust in front, mag."""
    mag: Float
    """Total magnitudes behind that dust, shape ``(n, 4)``."""

    def __post_init__(self) -> None:
        lengths = {len(getattr(self, name)) for name in self.__slots__}
        if len(lengths) != 1:
            raise ValueError(f"listed objects need arrays of one length, got {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.ebv)

    @property
    def source_id(self) -> list[str]:
        """Identifiers by row, which say nothing about the class."""
        return [f"S{row + 1:06d}" for row in range(len(self))]


def source_table(rng: np.random.Generator, listed: Listed) -> Table:
    """Return the source list: positions and observed magnitudes with their errors.

    Parameters
    ----------
    rng
        Source of the errors.
    listed
        The objects.

    Returns
    -------
    mapping of str to list of str
        ``source_id, ra, dec`` (deg), ``g, r, i, z`` (observed mag, blank where not measured),
        ``ebv`` (mag).
    """
    ra, dec = _scattered(rng, listed.ra_deg, listed.dec_deg, _POSITION_ERROR_ARCSEC)
    measured = _measured(rng, listed)
    return {
        "source_id": listed.source_id,
        "ra": _text(ra, ".7f"),
        "dec": _text(dec, ".7f"),
        **{band: _text(measured[:, row], ".4f") for row, band in enumerate(BANDS)},
        "ebv": _text(listed.ebv, ".4f"),
    }


def _measured(rng: np.random.Generator, listed: Listed) -> Float:
    """Return magnitudes with the noise of an aperture of 1.5 apparent radii, NaN if lost."""
    flux = 10 ** (0.4 * (ZERO_POINT - listed.mag))
    seeing = np.array([band.seeing_arcsec for band in FILTERS])
    noise = np.array([band.noise for band in FILTERS])
    radius = 1.5 * np.hypot(listed.population.r_eff_arcsec[:, None], 0.6 * seeing)  # (n, 4)
    n_px = np.pi * (radius / SCALE_ARCSEC) ** 2
    error = np.sqrt(n_px * noise**2 + flux / GAIN + (_CALIBRATION_ERROR * flux) ** 2)
    seen = flux + error * rng.standard_normal(flux.shape)
    kept = (seen > _DETECTION_SNR * error) & (rng.random(flux.shape) >= _LOST_SHARE)
    return ZERO_POINT - 2.5 * np.log10(np.where(kept, seen, np.nan))


def redshift_table(rng: np.random.Generator, listed: Listed) -> Table:
    """Return spectra of a bright subset, some objects observed twice.

    Parameters
    ----------
    rng
        Source of the choice and the errors.
    listed
        The objects.

    Returns
    -------
    mapping of str to list of str
        ``object_id, ra, dec`` (deg), ``z, z_err, z_warning`` (0 is good), ``spec_class``; one row
        per spectrum, the rows of one object share its ``object_id`` and position.
    """
    classes = listed.population.true_class
    share = np.array([_SPECTRA_SHARE[name] for name in classes])
    bright = listed.mag[:, BANDS.index("r")] < _SPECTRA_LIMIT_R
    target = np.flatnonzero(bright & (rng.random(len(listed)) < share))
    object_id = 7_000_000_000 + rng.permutation(10 * len(listed))[: len(target)]
    ra, dec = _scattered(rng, listed.ra_deg[target], listed.dec_deg[target], _SPECTRUM_ERROR_ARCSEC)
    again = np.flatnonzero(rng.random(len(target)) < _REPEATED_SHARE)
    row = rng.permutation(np.concatenate([np.arange(len(target)), again]))  # of ``target``
    error = rng.uniform(1e-5, 6e-5, len(row))
    failed = rng.random(len(row)) < _WARNING_SHARE
    z_true = listed.population.redshift[target[row]] + error * rng.standard_normal(len(row))
    return {
        "object_id": [str(value) for value in object_id[row]],
        "ra": _text(ra[row], ".7f"),
        "dec": _text(dec[row], ".7f"),
        "z": _text(np.where(failed, rng.uniform(0, 1, len(row)), z_true), ".7f"),
        "z_err": _text(error, ".3e"),
        "z_warning": ["4" if bad else "0" for bad in failed],
        "spec_class": ["STAR" if name == "star" else "GALAXY" for name in classes[target[row]]],
    }


def truth_table(listed: Listed) -> Table:
    """Return what the simulation put there.

    Parameters
    ----------
    listed
        The objects.

    Returns
    -------
    mapping of str to list of str
        Keyed by ``source_id``; ``label`` is what a network is trained on; the shape is the main
        component's, ``r_total`` the whole object's magnitude behind the dust; positions free of
        error, origin 0.
    """
    people = listed.population
    return {
        "source_id": listed.source_id,
        "ra": _text(listed.ra_deg, ".7f"),
        "dec": _text(listed.dec_deg, ".7f"),
        "true_class": [str(name) for name in people.true_class],
        "label": ["member" if name == "member" else "nonmember" for name in people.true_class],
        "z_true": _text(people.redshift, ".6f"),
        **{f"{band}_total": _text(listed.mag[:, row], ".4f") for row, band in enumerate(BANDS)},
        "r_eff_arcsec": _text(people.r_eff_arcsec, ".3f"),
        "sersic_n": _text(people.sersic_n, ".3f"),
        "axis_ratio": _text(people.axis_ratio, ".3f"),
        "bulge_share": _text(people.bulge_share, ".3f"),
        "nucleus_share": _text(people.nucleus_share, ".4f"),
        "knot_share": _text(people.knot_share, ".3f"),
        "x_px": _text(listed.x_px, ".3f"),
        "y_px": _text(listed.y_px, ".3f"),
    }


def _scattered(
    rng: np.random.Generator, ra_deg: Float, dec_deg: Float, error_arcsec: float
) -> tuple[Float, Float]:
    """Return positions with an error along each axis."""
    step = rng.normal(0, error_arcsec / 3600, (2, len(ra_deg)))
    return ra_deg + step[0] / np.cos(np.radians(dec_deg)), dec_deg + step[1]


def _text(values: Float, form: str) -> list[str]:
    """Return numbers as text, blank where unknown."""
    return [format(value, form) if np.isfinite(value) else "" for value in values.tolist()]
