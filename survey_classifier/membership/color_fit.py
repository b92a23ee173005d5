"""Mixtures of normals whose members change with magnitude, from objects with errors.

Owns the expectation maximization: for errors of each object that of Bovy, Hogg & Roweis (2011,
AnnApSt 5, 1657), here in one dimension. An object between two nodes of magnitude is drawn from
either with the probability that linear interpolation gives, so what is fitted is the density as it
is used, and no object sits in a wrong bin. Does not own what the densities are for.

Few objects must not make a spike: each node starts with `PSEUDO_OBJECTS` objects of the density of
all magnitudes together, and that one with as many of the starting guess.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import SourcesError

__all__ = ["MixtureFit", "fit_mixtures", "hat_weights"]

Floats = npt.NDArray[np.float64]

PSEUDO_OBJECTS = 10.0
"""Objects of a node that are taken from the density of all magnitudes."""
MIN_SIGMA = 0.02
"""In mag: narrower than any photometry makes a color."""
ITERATIONS = 300
TOLERANCE = 1e-7
"""Gain of the mean log-likelihood at which the iteration ends."""


class MixtureFit(NamedTuple):
    """Mixtures, each array of shape ``(node, component)``."""

    weights: Floats
    means: Floats
    sigmas: Floats


class _Pairs(NamedTuple):
    """Objects and the nodes that they may be of: each array of shape ``(pair,)``."""

    row: npt.NDArray[np.intp]
    node: npt.NDArray[np.intp]
    near: Floats
    """Probability that the object is of the node, by its magnitude."""
    value: Floats
    noise: Floats
    """Variance of the value's error."""

    @classmethod
    def of(cls, value: Floats, error: Floats, weights: list[Floats]) -> "_Pairs":
        """Return the pairs of nodes whose weights, one array a node, are not zero."""
        node, row = np.nonzero(np.array(weights))
        return cls(row, node, np.array(weights)[node, row], value[row], error[row] ** 2)

    def sums(self, values: Floats, n_node: int) -> Floats:
        """Return sums by node, shape (node, component), of values of shape (component, pair)."""
        return np.stack([np.bincount(self.node, each, n_node) for each in values], axis=1)


def hat_weights(values: Floats, nodes: Floats) -> list[Floats]:
    """Return the weight of each node in linear interpolation, constant beyond the ends.

    Parameters
    ----------
    values
        Where to interpolate, shape (n,); NaN weighs nothing.
    nodes
        Rising, shape (k,).

    Returns
    -------
    list of ndarray
        One array of shape (n,) a node; they sum to one where the value is known.
    """
    clipped = np.clip(values, nodes[0], nodes[-1])
    if len(nodes) == 1:
        return [np.where(np.isnan(values), 0.0, 1.0)]
    left = np.clip(np.searchsorted(nodes, clipped, side="right") - 1, 0, len(nodes) - 2)
    share = (clipped - nodes[left]) / (nodes[left + 1] - nodes[left])
    share = np.nan_to_num(share, nan=0.0)
    known = ~np.isnan(values)
    return [
        known * (np.where(left == node, 1 - share, 0.0) + np.where(left + 1 == node, share, 0.0))
        for node in range(len(nodes))
    ]


def fit_mixtures(
    value: Floats,
    error: Floats,
    mag: Floats,
    nodes: Floats,
    n_component: int,
    floor: tuple[float, float, float],
) -> MixtureFit:
    """Return the mixtures that make objects most likely, with a floor that is given.

    Parameters
    ----------
    value, error, mag
        Of the objects, finite, shape (n,).
    nodes
        Rising magnitudes, shape (k,).
    n_component
        Normals at each node.
    floor
        Share, mean and sigma of a normal that every node has besides.

    Raises
    ------
    SourcesError
        If there is no object.
    """
    if not len(value):
        raise SourcesError("no labeled object of a class has a color and a magnitude: name columns")
    start = _start(value, n_component)
    everywhere = _Pairs.of(value, error, [np.ones(len(value))])
    overall = _maximize(everywhere, start, floor)
    near = _Pairs.of(value, error, hat_weights(mag, nodes))
    first = MixtureFit(*(np.repeat(rows, len(nodes), axis=0) for rows in overall))
    return _maximize(near, first, floor)


def _start(value: Floats, n_component: int) -> MixtureFit:
    """Return normals at even quantiles."""
    quantiles = (np.arange(n_component) + 0.5) / n_component
    spread = max(float(np.subtract(*np.quantile(value, [0.84, 0.16]))) / 2, MIN_SIGMA)
    means = np.quantile(value, quantiles)[None, :]
    even = np.full((1, n_component), 1 / n_component)
    return MixtureFit(even, means, np.full_like(even, max(spread / n_component, MIN_SIGMA)))


def _maximize(pairs: _Pairs, prior: MixtureFit, floor: tuple[float, float, float]) -> MixtureFit:
    """Iterate from a prior, of which each node holds `PSEUDO_OBJECTS`, until nothing is gained."""
    fit, last = prior, -np.inf
    for _ in range(ITERATIONS):
        fit, now = _step(pairs, fit, prior, floor)
        if now - last < TOLERANCE:
            break
        last = now
    return fit


def _step(
    pairs: _Pairs, fit: MixtureFit, prior: MixtureFit, floor: tuple[float, float, float]
) -> tuple[MixtureFit, float]:
    """Return the next fit, and the mean log-likelihood of the last."""
    n_node = len(fit.weights)
    weights, means, sigmas = (values[pairs.node].T for values in fit)  # (component, pair)
    own = sigmas**2
    total = own + pairs.noise
    away = pairs.value - means
    joint = np.exp(-0.5 * away**2 / total) / np.sqrt(2 * np.pi * total)
    joint *= (1 - floor[0]) * weights * pairs.near
    below = floor[2] ** 2 + pairs.noise
    base = floor[0] * np.exp(-0.5 * (pairs.value - floor[1]) ** 2 / below)
    base *= pairs.near / np.sqrt(2 * np.pi * below)
    density = np.bincount(pairs.row, joint.sum(axis=0) + base)
    share = joint / density[pairs.row]
    # What the value would be without its error, and how well that is known.
    true = means + own / total * away
    unsure = own * pairs.noise / total
    extra = PSEUDO_OBJECTS * prior.weights
    n = pairs.sums(share, n_node) + extra
    mean = (pairs.sums(share * true, n_node) + extra * prior.means) / n
    spread = pairs.sums(share * ((true - mean[pairs.node].T) ** 2 + unsure), n_node)
    spread += extra * ((prior.means - mean) ** 2 + prior.sigmas**2)
    sigma = np.maximum(np.sqrt(spread / n), MIN_SIGMA)
    found = MixtureFit(n / n.sum(axis=1, keepdims=True), mean, sigma)
    return found, float(np.log(density).mean())
