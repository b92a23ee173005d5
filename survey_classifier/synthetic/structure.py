"""What simulated objects consist of: disc, bulge, nucleus and knots of star formation.

Owns how an object's flux is shared among light components. Does not own the objects
(``population``) or how a component is drawn (``render``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from survey_classifier.synthetic.population import Population
from survey_classifier.synthetic.profiles import MIN_INDEX
from survey_classifier.synthetic.render import Components

__all__ = ["Structure", "build_structure"]

Float = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

# In g, r, i, z, relative to the object: a bulge is redder than it, knots are bluer.
_BULGE_TINT = np.array([0.80, 1.0, 1.07, 1.12])
_KNOT_TINT = np.array([1.25, 1.0, 0.85, 0.75])

_BULGE_RADIUS, _BULGE_INDEX = 0.25, 2.5
_KNOT_RADIUS = 0.10
_KNOTS_PER_GALAXY = 7


@dataclass(frozen=True, slots=True)
class Structure:
    """Light components of a population, one row each, all of shape ``(m,)`` but the share.

    For every object the shares of its components sum to 1 in each band.
    """

    owner: Index
    """Row of the object in its population."""
    share: Float
    """Share of the owner's flux in each band, shape ``(m, 4)``."""
    x_px: Float
    y_px: Float
    r_eff_arcsec: Float
    sersic_n: Float
    axis_ratio: Float
    angle_rad: Float

    def components(self, flux: Float, band: int) -> Components:
        """Return the components to draw in one band.

        Parameters
        ----------
        flux
            Flux of each object of the population in this band.
        band
            Index of the band, 0 to 3.
        """
        return Components(
            x_px=self.x_px,
            y_px=self.y_px,
            flux=flux[self.owner] * self.share[:, band],
            r_eff_arcsec=self.r_eff_arcsec,
            sersic_n=self.sersic_n,
            axis_ratio=self.axis_ratio,
            angle_rad=self.angle_rad,
        )


def build_structure(
    rng: np.random.Generator, population: Population, x_px: Float, y_px: Float, scale: float
) -> Structure:
    """Divide each object into its components.

    Parameters
    ----------
    rng
        Source of the places and brightnesses of the knots.
    population
        The objects, ``n`` of them.
    x_px, y_px
        Where they are, shape ``(n,)``.
    scale
        Arcsec per pixel.

    Returns
    -------
    Structure
        One main component for each object, and what else it has.
    """
    main = Structure(
        owner=np.arange(len(population)),
        share=np.ones((len(population), 4)),
        x_px=x_px,
        y_px=y_px,
        r_eff_arcsec=population.r_eff_arcsec,
        sersic_n=population.sersic_n,
        axis_ratio=population.axis_ratio,
        angle_rad=population.angle_rad,
    )
    extras = _join([_bulges(main, population), _nuclei(main, population)])
    extras = _join([extras, _knots(rng, main, population, scale)])
    rest = main.share.copy()
    np.subtract.at(rest, extras.owner, extras.share)
    return _join([_rows(main, main.owner, share=rest), extras])


def _join(parts: Sequence[Structure]) -> Structure:
    """Return all components of several structures."""
    names = [field.name for field in fields(Structure)]
    return Structure(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _rows(main: Structure, index: Index, **changes: Float) -> Structure:
    """Return copies of main components with some columns replaced."""
    kept = {field.name: getattr(main, field.name)[index] for field in fields(Structure)}
    return Structure(**(kept | changes))


def _bulges(main: Structure, population: Population) -> Structure:
    """Return the compact, round, red centers of spirals and giants."""
    index = np.flatnonzero(population.bulge_share)
    return _rows(
        main,
        index,
        share=population.bulge_share[index, None] * _BULGE_TINT,
        r_eff_arcsec=_BULGE_RADIUS * main.r_eff_arcsec[index],
        sersic_n=np.full(len(index), _BULGE_INDEX),
        axis_ratio=np.sqrt(main.axis_ratio[index]),
    )


def _nuclei(main: Structure, population: Population) -> Structure:
    """Return the point-like nuclei of members."""
    index = np.flatnonzero(population.nucleus_share)
    share = np.repeat(population.nucleus_share[index, None], 4, axis=1)
    return _rows(main, index, share=share, r_eff_arcsec=np.zeros(len(index)))


def _knots(
    rng: np.random.Generator, main: Structure, population: Population, scale: float
) -> Structure:
    """Return small blue Gaussians strewn over the discs of star-forming galaxies."""
    index = np.repeat(np.flatnonzero(population.knot_share), _KNOTS_PER_GALAXY)
    n = len(index)
    size_px = main.r_eff_arcsec[index] / scale
    radius, phase = size_px * rng.uniform(0.2, 1.8, n), rng.uniform(0, 2 * np.pi, n)
    along, across = radius * np.cos(phase), radius * np.sin(phase) * main.axis_ratio[index]
    cos, sin = np.cos(main.angle_rad[index]), np.sin(main.angle_rad[index])
    part = rng.dirichlet(np.full(_KNOTS_PER_GALAXY, 1.5), n // _KNOTS_PER_GALAXY).ravel()
    return _rows(
        main,
        index,
        share=(population.knot_share[index] * part)[:, None] * _KNOT_TINT,
        x_px=main.x_px[index] + along * cos - across * sin,
        y_px=main.y_px[index] + along * sin + across * cos,
        r_eff_arcsec=_KNOT_RADIUS * main.r_eff_arcsec[index],
        sersic_n=np.full(n, MIN_INDEX),
        axis_ratio=np.ones(n),
    )
