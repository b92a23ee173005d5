"""What a color says of membership: the densities of members and of other galaxies.

Owns the density of ``delta_rs``, the distance from the red sequence, in each class and at each
magnitude, and the log of their ratio. Does not own how they are fitted (``color_fit``), the red
sequence (``red_sequence``), nor what the ratio is worth beside the image (``evidence``).

At each node of magnitude the density of a class is a mixture of normals, each widened by the
color's error, with a broad normal that both classes share::

    p(x | class, node) = (1 - f) sum_c w_c N(x; mean_c, sigma_c^2 + err^2)
                         + f N(x; floor_mean, floor_sigma^2 + err^2)

and between nodes it is linear in the magnitude, so it always integrates to one. The floor bounds
the evidence on both sides, and a color that is like no object of either class says nothing: far
away only the floor is left, and the ratio is one.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from survey_classifier.membership.color_fit import MixtureFit, fit_mixtures, hat_weights
from survey_classifier.settings import Settings

__all__ = ["ColorEvidence", "ColorMixtures", "fit_color_evidence"]

Floats = npt.NDArray[np.float64]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Width = Annotated[float, Field(gt=0, allow_inf_nan=False)]

MEMBER_COMPONENTS = 2
"""The red sequence, and bluer members."""
OTHER_COMPONENTS = 3
FLOOR_SHARE = 0.03
"""Of each class; at the scatter of bright members it bounds the evidence at about 6."""
FLOOR_WIDTH = 2.0
"""Sigma of the floor, in standard deviations of all colors: wider than any component."""
FAR = 10.0
"""Sigmas of the floor beyond which no color is told from another: its density would be zero."""
SUM_TOLERANCE = 1e-3


class ColorMixtures(Settings):
    """The mixtures of one class, a row a node of magnitude."""

    weights: tuple[tuple[Share, ...], ...]
    """Of the components, without the floor; they sum to one."""
    means: tuple[tuple[Finite, ...], ...]
    """In mag of ``delta_rs``."""
    sigmas: tuple[tuple[Width, ...], ...]
    """In mag, without measurement errors."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        shapes = {
            tuple(len(row) for row in rows) for rows in (self.weights, self.means, self.sigmas)
        }
        if len(shapes) > 1 or len(set(*shapes)) != 1:
            raise ValueError("weights, means and sigmas differ in length: give one of each")
        for row in self.weights:
            if abs(sum(row) - 1) > SUM_TOLERANCE:
                raise ValueError(f"the weights {row} sum to {sum(row):g}: give shares of one")
        return self


class _Arrays(NamedTuple):
    """The mixtures of one class with the floor as their last component, each ``(node, c)``."""

    weights: Floats
    means: Floats
    variances: Floats


class ColorEvidence(Settings):
    """Densities of ``delta_rs``: the ``[color]`` table of an evidence file."""

    bands: tuple[str, str, str] = ("g", "z", "r")
    """Of the red sequence that distances are from: of its color, and its magnitude."""
    magnitudes: Annotated[tuple[Finite, ...], Field(min_length=1)]
    """Nodes in r_0, rising; beyond them the densities are those of the first and the last."""
    floor_share: Annotated[float, Field(gt=0, lt=1)]
    floor_mean: Finite
    floor_sigma: Width
    member: ColorMixtures
    other: ColorMixtures

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if np.any(np.diff(self.magnitudes) <= 0):
            raise ValueError(f"magnitudes {self.magnitudes} do not rise: sort them")
        for name, mixtures in (("member", self.member), ("other", self.other)):
            if len(mixtures.weights) != len(self.magnitudes):
                raise ValueError(
                    f"{len(self.magnitudes)} magnitudes and {len(mixtures.weights)} mixtures of "
                    f"{name}: give one for each"
                )
        return self

    def llr(self, delta: npt.ArrayLike, delta_err: npt.ArrayLike, r0: npt.ArrayLike) -> Floats:
        """Return ln p(delta | member, r_0) / p(delta | other galaxy, r_0).

        Parameters
        ----------
        delta
            Distances from the red sequence in mag, shape (n,); NaN = unknown.
        delta_err
            Their 1-sigma errors in mag, shape (n,) or scalar; NaN = unknown, and taken as 0.
        r0
            Dereddened r magnitudes, shape (n,); NaN = unknown.

        Returns
        -------
        ndarray of float64
            Shape (n,); NaN where the distance or the magnitude is unknown.
        """
        member, other = self._densities((self._member, self._other), delta, delta_err, r0)
        ratio = member / other
        return np.asarray(np.log(ratio), dtype=np.float64)

    def density(
        self, name: str, delta: npt.ArrayLike, delta_err: npt.ArrayLike, r0: npt.ArrayLike
    ) -> Floats:
        """Return the density of a class, per mag, shape (n,).

        Parameters
        ----------
        name
            ``member`` or ``other``.
        delta, delta_err, r0
            As in `llr`.
        """
        mixtures = {"member": self._member, "other": self._other}[name]
        return self._densities((mixtures,), delta, delta_err, r0)[0]

    @cached_property
    def _member(self) -> _Arrays:
        return self._arrays(self.member)

    @cached_property
    def _other(self) -> _Arrays:
        return self._arrays(self.other)

    def _arrays(self, mixtures: ColorMixtures) -> _Arrays:
        """Return the parameters of a class as arrays, the floor among them."""
        weights, means, sigmas = (
            np.array(rows) for rows in (mixtures.weights, mixtures.means, mixtures.sigmas)
        )
        weights = (1 - self.floor_share) * weights / weights.sum(axis=1, keepdims=True)
        column = np.ones((len(weights), 1))
        return _Arrays(
            np.hstack([weights, self.floor_share * column]),
            np.hstack([means, self.floor_mean * column]),
            np.hstack([sigmas, self.floor_sigma * column]) ** 2,
        )

    def _densities(
        self,
        classes: Sequence[_Arrays],
        delta: npt.ArrayLike,
        delta_err: npt.ArrayLike,
        r0: npt.ArrayLike,
    ) -> list[Floats]:
        """Return the density of each class; it is linear between two nodes."""
        reach = FAR * self.floor_sigma
        distance = np.clip(delta, self.floor_mean - reach, self.floor_mean + reach)
        mag = np.asarray(r0, dtype=np.float64)
        variance = np.nan_to_num(np.clip(delta_err, 0.0, reach), nan=0.0) ** 2
        distance, mag, variance = np.broadcast_arrays(distance, mag, variance)
        unknown = np.isnan(distance) | np.isnan(mag)
        densities = [np.where(unknown, np.nan, 0.0) for _ in classes]
        for node, worth in enumerate(hat_weights(mag, np.array(self.magnitudes))):
            near = np.flatnonzero(worth)
            here = (distance[near], variance[near])
            for density, mixtures in zip(densities, classes, strict=True):
                density[near] += worth[near] * _mixture(mixtures, node, *here)
        return densities


def fit_color_evidence(
    delta: Floats,
    delta_err: Floats,
    r0: Floats,
    is_member: npt.NDArray[np.bool_],
    edges: Floats,
) -> ColorEvidence:
    """Return the densities of labeled galaxies.

    Parameters
    ----------
    delta, delta_err, r0
        As in `ColorEvidence.llr`, shape (n,); rows with an unknown distance or magnitude are left
        out.
    is_member
        Whether each is a member or another galaxy, shape (n,). Stars do not belong here.
    edges
        Rising edges of bins of r_0, shape (k + 1,); the nodes are their middles. An object between
        two nodes is of both, by its distance from them, so no object is outside.

    Raises
    ------
    SourcesError
        If a class has no object with a color and a magnitude.
    """
    nodes = (edges[1:] + edges[:-1]) / 2
    known = np.isfinite(delta) & np.isfinite(r0)
    error = np.where(np.isfinite(delta_err), delta_err, 0.0)
    mean, sigma = _floor(delta[known])
    fits = []
    for rows, n in ((is_member, MEMBER_COMPONENTS), (~is_member, OTHER_COMPONENTS)):
        used = known & rows
        floor = (FLOOR_SHARE, mean, sigma)
        fits.append(fit_mixtures(delta[used], error[used], r0[used], nodes, n, floor))
    return ColorEvidence(
        magnitudes=tuple(nodes.tolist()),
        floor_share=FLOOR_SHARE,
        floor_mean=mean,
        floor_sigma=sigma,
        member=_mixtures(fits[0]),
        other=_mixtures(fits[1]),
    )


def _floor(delta: Floats) -> tuple[float, float]:
    """Return mean and sigma of the floor, in whole hundredths of a magnitude."""
    if len(delta) < 2:
        return 0.0, 1.0
    return round(float(delta.mean()), 2), max(round(FLOOR_WIDTH * float(delta.std()), 2), 0.5)


def _mixtures(fit: MixtureFit) -> ColorMixtures:
    """Return a fit with four decimals, whose weights still sum to one."""
    weights = fit.weights.round(4)
    largest = weights.argmax(axis=1)
    weights[np.arange(len(weights)), largest] += 1 - weights.sum(axis=1)
    return ColorMixtures(
        weights=_rows(weights.round(4)), means=_rows(fit.means), sigmas=_rows(fit.sigmas)
    )


def _rows(values: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in values.round(4).tolist())


def _mixture(mixtures: _Arrays, node: int, distance: Floats, variance: Floats) -> Floats:
    """Return the density at a node."""
    density = np.zeros(distance.shape)
    parameters = zip(*(values[node] for values in mixtures), strict=True)
    for weight, mean, own in parameters:
        precision = 1 / (variance + own)
        peak = np.sqrt(precision * (weight**2 / (2 * np.pi)))
        density += peak * np.exp((distance - mean) ** 2 * precision * -0.5)
    return density
