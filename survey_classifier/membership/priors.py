"""How many members there are to begin with: a table over magnitude and distance from the center.

Owns the value `PriorTable`, its interpolation, and where shipped tables lie. Does not own the
estimation of a table (``prior_estimation``), the numbers of the shipped one (``perseus``), nor
what is done with a share (``evidence``).

All shares of members are among *galaxies*: stars are the business of ``p_star`` (``stars``), for
which the table holds the share of stars among all sources.
"""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from survey_classifier.errors import ConfigError
from survey_classifier.membership.probability import expit, logit
from survey_classifier.settings import Settings, read_shipped

__all__ = ["PriorTable"]

Floats = npt.NDArray[np.float64]
Share = Annotated[float, Field(gt=0, lt=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]

SHIPPED = Path(__file__).parent / "shipped" / "priors"
REACH_MAG = 1.0
"""Beyond its outer nodes an estimate says something for so many magnitudes, less and less."""
UNKNOWN_ERR = 10.0
"""Error of log-odds where nothing was estimated."""
EVEN = 0.5
"""Share of stars where a table says nothing of them."""


class PriorTable(Settings):
    """Share of members among galaxies by magnitude and radius, and of stars among sources.

    Values belong to nodes; between them their log-odds are linear in magnitude and in the logarithm
    of the radius, beyond the outer ones they stay. A table with one magnitude knows none.
    """

    source: str
    """Where the numbers come from."""
    magnitudes: Annotated[tuple[Finite, ...], Field(min_length=1)]
    """Nodes in r_0 (dereddened r, mag), rising."""
    marginal_share: tuple[Share, ...]
    """Share of members at each magnitude, whatever the radius."""
    radii_deg: tuple[Annotated[float, Field(gt=0, le=180)], ...] = ()
    """Nodes in distance from the cluster's center, rising; none: the radius says nothing."""
    share: tuple[tuple[Share, ...], ...] = ()
    """Share of members at each magnitude (rows) and radius."""
    star_share: tuple[Share, ...] = ()
    """Share of stars among all sources at each magnitude; none: one half."""
    overall: Share
    """Share of members among galaxies of unknown magnitude."""
    overall_star: Share = EVEN
    """Share of stars among sources of unknown magnitude."""
    marginal_err: tuple[Annotated[float, Field(ge=0)], ...] = ()
    """1-sigma errors of the log-odds of ``marginal_share``; none: unknown."""

    @model_validator(mode="after")
    def _sound(self) -> "PriorTable":
        for name in ("magnitudes", "radii_deg"):
            nodes = getattr(self, name)
            if any(low >= high for low, high in pairwise(nodes)):
                raise ValueError(f"{name} {nodes} do not rise: sort them")
        n = len(self.magnitudes)
        lengths = {name: len(getattr(self, name)) for name in ("marginal_share",)}
        optional = ("star_share", "marginal_err") + (("share",) if self.radii_deg else ())
        lengths |= {
            name: len(getattr(self, name))
            for name in optional
            if getattr(self, name) or name == "share"
        }
        for name, length in lengths.items():
            if length != n:
                raise ValueError(f"{name} has {length} rows for {n} magnitudes: give one for each")
        if any(len(row) != len(self.radii_deg) for row in self.share):
            raise ValueError(f"each row of share needs {len(self.radii_deg)} values, one a radius")
        return self

    @classmethod
    def constant(cls, share: float, stars: "PriorTable | None" = None) -> Self:
        """Return the table that says one share whatever the magnitude and radius.

        Parameters
        ----------
        share
            Share of members among galaxies.
        stars
            Table whose share of stars holds; None: one half.

        Raises
        ------
        ConfigError
            If the share is outside (0, 1).
        """
        if not 0 < share < 1:
            raise ConfigError(f"the prior is {share}: give a share of members inside (0, 1)")
        nodes = (0.0,) if stars is None or not stars.star_share else stars.magnitudes
        return cls(
            source="a constant",
            magnitudes=nodes,
            marginal_share=(share,) * len(nodes),
            star_share=() if stars is None else stars.star_share,
            overall=share,
            overall_star=EVEN if stars is None else stars.overall_star,
        )

    @classmethod
    def read(cls, name: str | Path) -> Self:
        """Return a shipped table by its name, or that of a TOML file.

        Raises
        ------
        ConfigError
            If there is no such table or it is not valid.
        """
        unknown = f"no prior {str(name)!r}: give a number, a file.toml, or a shipped table"
        return read_shipped(name, cls, SHIPPED, unknown)

    def with_stars(self, other: "PriorTable") -> "PriorTable":
        """Return this table with the share of stars of another, at its own magnitudes."""
        stars = _values(other.stars(np.array(self.magnitudes))) if other.star_share else ()
        return self.model_copy(update={"star_share": stars, "overall_star": other.overall_star})

    def with_profile(self, other: "PriorTable") -> "PriorTable":
        """Return this table with the radial profile of another.

        The shares at each magnitude are this one's; with the radius their log-odds change as the
        other's do.
        """
        if not other.radii_deg:
            return self
        mag, n = np.array(self.magnitudes), len(other.radii_deg)
        there = other.at(np.repeat(mag, n), np.tile(other.radii_deg, len(mag))).reshape(-1, n)
        shift = logit(there) - logit(other.marginal(mag))[:, None]
        share = expit(logit(self.marginal_share)[:, None] + shift)
        return self.model_copy(
            update={"radii_deg": other.radii_deg, "share": tuple(_values(row) for row in share)}
        )

    def beyond(self, other: "PriorTable") -> "PriorTable":
        """Return this table with the shares of another at magnitudes that it does not reach.

        From `REACH_MAG` beyond the outer nodes on, shares are those of the other; in between the
        log-odds go from one to the other.

        Parameters
        ----------
        other
            Holds where this one says nothing.
        """
        low, high = self.magnitudes[0] - REACH_MAG, self.magnitudes[-1] + REACH_MAG
        brighter = (*(m for m in other.magnitudes if m < low), low)
        fainter = (high, *(m for m in other.magnitudes if m > high))

        def shares(nodes: tuple[float, ...]) -> tuple[float, ...]:
            return _values(other.marginal(np.array(nodes)))

        def rows(nodes: tuple[float, ...]) -> tuple[tuple[float, ...], ...]:
            radii = np.array(self.radii_deg)
            return tuple(_values(other.at(np.full(len(radii), m), radii)) for m in nodes)

        update: dict[str, object] = {
            "magnitudes": (*brighter, *self.magnitudes, *fainter),
            "marginal_share": (*shares(brighter), *self.marginal_share, *shares(fainter)),
            "marginal_err": self.marginal_err
            and (
                *(UNKNOWN_ERR,) * len(brighter),
                *self.marginal_err,
                *(UNKNOWN_ERR,) * len(fainter),
            ),
            "star_share": (),
        }
        if self.radii_deg:
            update["share"] = (*rows(brighter), *self.share, *rows(fainter))
        reach = f"r = {self.magnitudes[0]:.2f} to {self.magnitudes[-1]:.2f}"
        update["source"] = f"{reach}: {self.source}; beyond: {other.source}"
        return self.model_copy(update=update)

    @property
    def knows_magnitude(self) -> bool:
        """Whether the shares of members depend on the magnitude."""
        return len(set(self.marginal_share)) > 1 or len(set(self.share)) > 1

    def marginal(self, r0: npt.ArrayLike) -> Floats:
        """Return the share of members at a magnitude, whatever the radius.

        Parameters
        ----------
        r0
            Dereddened r magnitudes, shape (n,); NaN: ``overall``.
        """
        return self._by_magnitude(r0, self.marginal_share, self.overall)

    def at(self, r0: npt.ArrayLike, radius_deg: npt.ArrayLike) -> Floats:
        """Return the share of members at a magnitude and radius.

        Parameters
        ----------
        r0
            Dereddened r magnitudes, shape (n,).
        radius_deg
            Distances from the center in degrees, shape (n,).

        Returns
        -------
        ndarray of float64
            Shape (n,); the marginal share where the radius is unknown. Where the magnitude is, the
        log-odds of ``overall`` change with the radius as they do on average.
        """
        share = self.marginal(r0)
        radius = np.asarray(radius_deg, dtype=np.float64)
        mag = np.asarray(r0, dtype=np.float64)
        # A constant needs no magnitude: its radial part, if any, holds for all.
        known = np.isfinite(radius) & (np.isfinite(mag) | (not self.knows_magnitude))
        share = self._of_unknown_magnitude(share, np.isfinite(radius) & ~known, radius)
        if not self.radii_deg or not known.any():
            return share
        nodes = np.array(self.radii_deg)
        mag_low, mag_high, mag_part = _bracket(np.nan_to_num(mag[known]), np.array(self.magnitudes))
        log_radius = np.log(np.clip(radius[known], nodes[0], nodes[-1]))
        low, high, part = _bracket(log_radius, np.log(nodes))
        values = logit(np.array(self.share))
        inner = values[mag_low, low] * (1 - mag_part) + values[mag_high, low] * mag_part
        outer = values[mag_low, high] * (1 - mag_part) + values[mag_high, high] * mag_part
        share[known] = expit(inner * (1 - part) + outer * part)
        return share

    def _of_unknown_magnitude(
        self, share: Floats, rows: npt.NDArray[np.bool_], radius: Floats
    ) -> Floats:
        """Return shares with those of some rows at their radius."""
        if not self.radii_deg or not rows.any():
            return share
        shifts = (logit(np.array(self.share)) - logit(self.marginal_share)[:, None]).mean(axis=0)
        nodes = np.log(np.array(self.radii_deg))
        shift = np.interp(np.log(np.maximum(radius[rows], 1e-9)), nodes, shifts)
        share[rows] = expit(logit(self.overall) + shift)
        return share

    def stars(self, r0: npt.ArrayLike) -> Floats:
        """Return the share of stars among all sources at a magnitude.

        Parameters
        ----------
        r0
            Dereddened r magnitudes, shape (n,); NaN: ``overall_star``.
        """
        return self._by_magnitude(r0, self.star_share or (EVEN,), self.overall_star)

    def _by_magnitude(self, r0: npt.ArrayLike, values: tuple[float, ...], unknown: float) -> Floats:
        mag = np.asarray(r0, dtype=np.float64)
        if len(values) == 1:
            return np.full(mag.shape, values[0])
        log_odds = np.interp(mag, self.magnitudes, logit(values))
        return np.where(np.isnan(mag), unknown, expit(log_odds))


def _values(values: Floats) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _bracket(
    values: Floats, nodes: Floats
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Floats]:
    """Return the nodes below and above each value, and how far it is from one to the other."""
    place = np.interp(values, nodes, np.arange(len(nodes), dtype=np.float64))
    low = place.astype(np.intp)
    return low, np.minimum(low + 1, len(nodes) - 1), place - low
