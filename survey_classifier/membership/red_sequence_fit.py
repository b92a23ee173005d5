"""The red sequence of a cluster from a field: galaxies of all kinds, with magnitude and color.

Owns the fit and what it says of itself. Does not own the value that it makes (``red_sequence``).

At a magnitude m = pivot + x, the color c of a galaxy with error e is drawn from

    f(x) N(c; a + b x, s^2 + e^2) + (1 - f(x)) sum_k w_k N(c; a_k + b_k x, s_k^2 + e^2)

a narrow line (s <= `MAX_SCATTER` <= s_k), and broad ones for all else: galaxies behind the cluster
and members of other colors. The share of the sequence f changes with the magnitude as a logistic
function does; one object in a hundred may be anywhere. The likelihood is maximized by expectation
maximization with the errors of Bovy, Hogg & Roweis (2011, AnnApSt 5, 1657), from several starts. A
model with one more broad line instead of the narrow one says whether there is a sequence at all.
Errors are those of the bootstrap over objects.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import SourcesError
from survey_classifier.membership.probability import expit
from survey_classifier.membership.red_sequence import Branch, RedSequence

__all__ = ["RedSequenceFit", "fit_red_sequence"]

Floats = npt.NDArray[np.float64]

MAX_SCATTER = 0.15
"""In mag; a sequence that is broader is none."""
MIN_SCATTER = 0.005
BROAD_LINES = 3
MAX_BROAD = 3.0
ANYWHERE = 0.01
"""Share of objects that no line holds, anywhere in the range of colors."""
MIN_OBJECTS = 30
MAX_OBJECTS = 10_000
"""Of more, so many are fitted, drawn at random: their errors are below those of any zero point."""
MIN_GAIN = 8.0
"""Gain of the log-likelihood by a narrow line over another broad one that makes a sequence."""
MIN_MEMBERS = 10.0
"""Expected number of objects on a sequence."""
START_SLOPES = (-0.12, -0.08, -0.04, 0.0)
STARTS = 3
"""Peaks that are tried."""
ITERATIONS = 400
TOLERANCE = 1e-7
BOOTSTRAPS = 40
BOOTSTRAP_ITERATIONS = 40


@dataclass(frozen=True, slots=True, eq=False)
class RedSequenceFit:
    """A red sequence, its 1-sigma errors, and how the objects belong to it."""

    sequence: RedSequence
    zero_err: float
    slope_err: float
    scatter_err: float
    n_object: int
    """Objects that were used."""
    n_sequence: float
    """Expected number of them on the sequence."""
    gain: float
    """Of the log-likelihood, by the sequence over a model without one."""
    p_sequence: Floats
    """Probability of each object to be on the sequence, shape (n,); NaN = not used."""


class _Lines(NamedTuple):
    """The lines of a model; the first is the sequence, if there is one."""

    zero: Floats
    slope: Floats
    sigma: Floats
    broad: Floats
    """Shares of the broad lines, which sum to one."""
    share: Floats
    """Constant and slope of the log-odds of the sequence; (-inf, 0) without one."""


class _Data(NamedTuple):
    """Objects that are used: magnitude from the pivot, color, and variance of its error."""

    mag: Floats
    color: Floats
    noise: Floats

    def some(self, rows: npt.NDArray[np.intp]) -> "_Data":
        """Return some of the objects."""
        return _Data(self.mag[rows], self.color[rows], self.noise[rows])

    @property
    def span(self) -> float:
        """Range of the colors."""
        return float(np.ptp(self.color)) + 1e-3


def fit_red_sequence(
    color: Floats,
    color_err: Floats,
    mag: Floats,
    bands: tuple[str, str, str],
    mag_range: tuple[float, float] | None = None,
    seed: int = 0,
) -> RedSequenceFit:
    """Fit a red sequence.

    Parameters
    ----------
    color, color_err, mag
        Dereddened blue - red, its 1-sigma error and the dereddened magnitude, shape (n,). Rows
        with an unknown color or magnitude are not used; an unknown error is taken as 0, and then
        the scatter holds it.
    bands
        Blue, red, and that of the magnitude.
    mag_range
        Brightest and faintest magnitude used; all, if None.
    seed
        Of the bootstrap, and of which objects are fitted of more than `MAX_OBJECTS`.

    Raises
    ------
    SourcesError
        If there are too few objects, or no sequence among them.
    """
    low, high = mag_range or (-np.inf, np.inf)
    used = np.isfinite(color) & np.isfinite(mag) & (mag >= low) & (mag <= high)
    what = f"{bands[0]} - {bands[1]} and {bands[2]}"
    if used.sum() < MIN_OBJECTS:
        raise SourcesError(
            f"{int(used.sum())} objects have {what} in the range of magnitudes: {MIN_OBJECTS} are "
            "needed for a red sequence"
        )
    pivot = round(float(np.median(mag[used])), 1)
    noise = np.where(np.isfinite(color_err), color_err, 0.0)[used] ** 2
    everything = _Data(mag[used] - pivot, color[used], noise)
    rng = np.random.default_rng(seed)
    data = everything.some(rng.permutation(len(noise))[:MAX_OBJECTS])
    broad = _without_line(data, BROAD_LINES + 1)
    tries = [_maximize(data, start) for start in _starts(data)]
    best, likelihood = max(tries, key=lambda one: one[1])
    gain = (likelihood - broad[1]) * len(data.mag)
    membership = _responsibilities(everything, best)[0][0]
    total = float(membership.sum())
    if gain < MIN_GAIN or total < MIN_MEMBERS:
        raise SourcesError(
            f"there is no red sequence in {what} of {len(noise)} objects: a narrow line holds "
            f"{total:.0f} of them and is {gain:.1f} better in log-likelihood than a broad one "
            f"({MIN_GAIN:g} are needed); choose a range of magnitudes, or members"
        )
    p_sequence = np.full(len(mag), np.nan)
    p_sequence[used] = membership
    sequence = _sequence(best, pivot, bands, (mag[used].min(), mag[used].max()))
    errors = _bootstrap(data, best, rng)
    return RedSequenceFit(sequence, *errors, len(noise), total, float(gain), p_sequence)


def _sequence(
    lines: _Lines, pivot: float, bands: tuple[str, str, str], reach: tuple[float, float]
) -> RedSequence:
    """Return the first line as a value."""
    zero, slope, scatter = (
        round(float(values[0]), 4) for values in (lines.zero, lines.slope, lines.sigma)
    )
    blue, red, mag = bands
    return RedSequence(
        blue=blue,
        red=red,
        mag=mag,
        branches=(Branch(pivot=pivot, zero=zero, slope=slope),),
        scatter=scatter,
        mag_range=(round(float(reach[0]), 2), round(float(reach[1]), 2)),
    )


def _starts(data: _Data) -> list[_Lines]:
    """Return models with a narrow line where colors, less a slope, peak above the rest."""
    peaks = []
    for slope in START_SLOPES:
        level = data.color - slope * data.mag
        low, high = np.quantile(level, [0.01, 0.99])
        grid = np.arange(low, high + 0.02, 0.02)
        near, wide = (_smooth(level, grid, width) for width in (0.04, 0.25))
        sharpness = (near - wide) / np.sqrt(wide + 1)
        peaks += [(sharpness[k], grid[k], slope) for k in _maxima(sharpness)]
    peaks.sort(reverse=True)
    return [_start(data, zero, slope) for _, zero, slope in peaks[:STARTS]]


def _smooth(level: Floats, grid: Floats, width: float) -> Floats:
    """Return how many objects there are near each point, weighted by a normal of that width."""
    counts = np.exp(-0.5 * ((grid[:, None] - level) / width) ** 2).sum(axis=1)
    return np.asarray(counts * (0.04 / width), dtype=np.float64)


def _maxima(values: Floats) -> npt.NDArray[np.intp]:
    """Return where values are no smaller than their neighbors."""
    padded = np.concatenate([[-np.inf], values, [-np.inf]])
    return np.flatnonzero((values >= padded[:-2]) & (values >= padded[2:]))


def _start(data: _Data, zero: float, slope: float) -> _Lines:
    """Return a model with a sequence there, and broad lines elsewhere."""
    rest = _broad_start(data, BROAD_LINES)
    return _Lines(
        np.append(zero, rest.zero),
        np.append(slope, rest.slope),
        np.append(0.06, rest.sigma),
        rest.broad,
        np.array([-1.0, 0.0]),
    )


def _broad_start(data: _Data, n: int) -> _Lines:
    """Return broad lines at even quantiles of color."""
    zero = np.quantile(data.color, (np.arange(n) + 0.5) / n)
    sigma = np.full(n, max(float(data.color.std()) / 2, MAX_SCATTER))
    return _Lines(zero, np.zeros(n), sigma, np.full(n, 1 / n), np.array([-np.inf, 0.0]))


def _without_line(data: _Data, n: int) -> tuple[_Lines, float]:
    """Return the best model of broad lines only."""
    return _maximize(data, _broad_start(data, n))


def _maximize(data: _Data, lines: _Lines, iterations: int = ITERATIONS) -> tuple[_Lines, float]:
    """Return the most likely model near a start, and its mean log-likelihood."""
    last = -np.inf
    for _ in range(iterations):
        owned, now = _responsibilities(data, lines)
        if now - last < TOLERANCE:
            break
        lines, last = _improve(data, lines, owned), now
    return lines, _responsibilities(data, lines)[1]


def _responsibilities(data: _Data, lines: _Lines) -> tuple[Floats, float]:
    """Return the probability of each line for each object, and the mean log-likelihood."""
    has_line = np.isfinite(lines.share[0])
    total = lines.sigma[:, None] ** 2 + data.noise
    away = data.color - lines.zero[:, None] - lines.slope[:, None] * data.mag
    density = np.exp(-0.5 * away**2 / total) / np.sqrt(2 * np.pi * total)
    worth = np.repeat(lines.broad[:, None], len(data.mag), axis=1)
    if has_line:
        share = expit(lines.share[0] + lines.share[1] * data.mag)
        worth = np.vstack([share, (1 - share) * worth])
    joint = (1 - ANYWHERE) * worth * density
    sum_ = joint.sum(axis=0) + ANYWHERE / data.span
    return joint / sum_, float(np.log(sum_).mean())


def _improve(data: _Data, lines: _Lines, owned: Floats) -> _Lines:
    """Return the model that fits the objects that each line owns."""
    has_line = np.isfinite(lines.share[0])
    own = lines.sigma[:, None] ** 2
    at = lines.zero[:, None] + lines.slope[:, None] * data.mag
    # The color without its error, and its variance.
    true = at + own / (own + data.noise) * (data.color - at)
    unsure = own * data.noise / (own + data.noise)
    n = owned.sum(axis=1) + 1e-9
    mean_mag, mean_true = (owned * data.mag).sum(axis=1) / n, (owned * true).sum(axis=1) / n
    from_mean = data.mag - mean_mag[:, None]
    # One object of unit variance at the mean keeps a line of few objects from tilting.
    slope = (owned * from_mean * true).sum(axis=1) / ((owned * from_mean**2).sum(axis=1) + 1)
    zero = mean_true - slope * mean_mag
    away = true - zero[:, None] - slope[:, None] * data.mag
    sigma = np.sqrt((owned * (away**2 + unsure)).sum(axis=1) / n)
    is_broad = np.arange(len(sigma)) >= int(has_line)
    sigma = np.where(
        is_broad, np.clip(sigma, MAX_SCATTER, MAX_BROAD), np.clip(sigma, MIN_SCATTER, MAX_SCATTER)
    )
    broad = n[is_broad] / n[is_broad].sum()
    share = _share(data.mag, owned, lines.share) if has_line else lines.share
    return _Lines(zero, slope, sigma, broad, share)


def _share(mag: Floats, owned: Floats, share: Floats) -> Floats:
    """Return the log-odds of the sequence after a Newton step of logistic regression."""
    design = np.stack([np.ones_like(mag), mag])
    weight = owned.sum(axis=0)
    p = expit(share @ design)
    # Log-odds are, weakly, drawn to be even: they stay finite where all objects agree.
    gradient = design @ (owned[0] - weight * p) - 0.01 * share
    curvature = (design * weight * p * (1 - p)) @ design.T + 0.01 * np.eye(2)
    step = np.linalg.solve(curvature, gradient)
    return np.asarray(share + np.clip(step, -1, 1), dtype=np.float64)


def _bootstrap(data: _Data, lines: _Lines, rng: np.random.Generator) -> tuple[float, float, float]:
    """Return the errors of zero, slope and scatter of the sequence."""
    found = []
    for _ in range(BOOTSTRAPS):
        rows = rng.integers(0, len(data.mag), len(data.mag))
        again, _ = _maximize(data.some(rows), lines, BOOTSTRAP_ITERATIONS)
        found.append((again.zero[0], again.slope[0], again.sigma[0]))
    zero, slope, scatter = np.std(found, axis=0, ddof=1)
    return float(zero), float(slope), float(scatter)
