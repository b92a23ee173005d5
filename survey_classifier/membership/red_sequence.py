"""The red sequence of a cluster: the color of its old galaxies at each magnitude.

Owns the value `RedSequence`, its file (TOML) and the sequences of Perseus. Does not own how one is
fitted (``red_sequence_fit``) nor the regions about it (``color``). Everything is dereddened and in
magnitudes of the SDSS system, but for the sequence's ``offset``; NaN is unknown and stays unknown.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from survey_classifier.errors import ConfigError
from survey_classifier.problems import nearest_name
from survey_classifier.settings import Settings, read_settings

__all__ = ["PERSEUS_GZ", "RED_SEQUENCES", "Branch", "RedSequence"]

Floats = npt.NDArray[np.float64]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Width = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Branch(Settings):
    """A straight line: color = zero + slope (mag - pivot)."""

    pivot: Finite
    zero: Finite
    """Color at the pivot."""
    slope: Finite


class RedSequence(Settings):
    """Where the red sequence lies, and how much members scatter about it."""

    source: str = ""
    """Where its numbers come from."""
    blue: str
    """Band of the color that is subtracted from, such as g of g - z."""
    red: str
    """Band that is subtracted."""
    mag: str
    """Band of the magnitude."""
    branches: Annotated[tuple[Branch, ...], Field(min_length=1)]
    """Its color is the highest of these lines."""
    floor: Finite | None = None
    """It is nowhere bluer."""
    scatter: Width
    """Sigma of members about it in mag, without measurement errors."""
    offset: Finite = 0.0
    """Color of this photometry minus that of the branches, such as -0.07 of Suprime-Cam in g - z
    against SDSS model colors."""
    mag_range: tuple[Finite, Finite] | None = None
    """Magnitudes that it was fitted to; beyond them it is extrapolated."""
    metrics: dict[str, Any] = Field(default_factory=dict)
    """What its fit says of itself; not used."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.blue == self.red:
            raise ValueError(f"the color is {self.blue} - {self.red}: give two bands")
        if self.mag_range is not None and not self.mag_range[0] < self.mag_range[1]:
            raise ValueError(f"mag_range is {list(self.mag_range)}: give the brighter end first")
        return self

    @property
    def bands(self) -> frozenset[str]:
        """The bands without which there is no distance from it."""
        return frozenset((self.blue, self.red, self.mag))

    def color(self, mag: npt.ArrayLike) -> Floats:
        """Return the color of the sequence in this photometry, offset included.

        Parameters
        ----------
        mag
            Dereddened magnitudes, shape (n,).
        """
        magnitudes = np.asarray(mag, dtype=np.float64)
        lines = [line.zero + line.slope * (magnitudes - line.pivot) for line in self.branches]
        if self.floor is not None:
            lines.append(np.where(np.isnan(magnitudes), np.nan, self.floor))
        return np.asarray(np.max(lines, axis=0) + self.offset, dtype=np.float64)

    def delta(self, color: npt.ArrayLike, mag: npt.ArrayLike) -> Floats:
        """Return the distance from the sequence in mag, positive = redder.

        Parameters
        ----------
        color
            Dereddened blue - red, shape (n,).
        mag
            Dereddened magnitudes, shape (n,).
        """
        return np.asarray(color, dtype=np.float64) - self.color(mag)

    def delta_err(self, blue_err: npt.ArrayLike, red_err: npt.ArrayLike) -> Floats:
        """Return the 1-sigma error of the distance, of bands with independent errors.

        An error of the magnitude moves a source along the sequence, whose slope is under 0.1, and
        is left out.

        Parameters
        ----------
        blue_err, red_err
            Errors of the color's bands, shape (n,); NaN = unknown, and so is the result.
        """
        return np.hypot(
            np.asarray(blue_err, dtype=np.float64), np.asarray(red_err, dtype=np.float64)
        )

    def shifted(self, offset: float) -> Self:
        """Return the same sequence for photometry of another offset.

        Raises
        ------
        pydantic.ValidationError
            If the offset is not finite.
        """
        return type(self).model_validate({**dict(self), "offset": offset})

    @classmethod
    def read(cls, name: str | Path) -> Self:
        """Return a sequence that comes with the package, by name, or that of a TOML file.

        Raises
        ------
        ConfigError
            If there is no such sequence or it is not valid.
        """
        path = Path(name)
        if path.suffix == ".toml" or path.parent != Path():
            return read_settings(path, cls)
        found = RED_SEQUENCES.get(str(name))
        if found is None:
            raise ConfigError(
                f"no red sequence {str(name)!r}: give a file.toml or a known one; "
                f"{nearest_name(str(name), set(RED_SEQUENCES))}"
            )
        return cls.model_validate(dict(found))


def _perseus(blue: str, red: str, zero: float, slope: float, scatter: float) -> RedSequence:
    """Return a sequence of bright members, a line with its pivot at r_0 = 15.5."""
    branch = Branch(pivot=15.5, zero=zero, slope=slope)
    source = "SDSS model colors of spectroscopic members of Perseus"
    return RedSequence(
        source=source, blue=blue, red=red, mag="r", branches=(branch,), scatter=scatter
    )


PERSEUS_GZ = RedSequence(
    source="SDSS model colors of spectroscopic members of Perseus; dwarfs of Wittmann et al. "
    "(2019, ApJS 245, 10) with V_0 = r_0 + 0.27",
    blue="g",
    red="z",
    mag="r",
    branches=(
        Branch(pivot=15.5, zero=1.373, slope=-0.079),
        Branch(pivot=17.73, zero=1.138, slope=-0.035),
    ),
    floor=1.00,
    scatter=0.086,
)
"""Bright members, dwarfs, and a floor; the branches meet at r_0 = 19.05. The scatter is that of
bright members, 0.074 that of dwarfs."""

RED_SEQUENCES: Mapping[str, RedSequence] = MappingProxyType(
    {
        "perseus-gz": PERSEUS_GZ,
        "perseus-gr": _perseus("g", "r", 0.747, -0.040, 0.037),
        "perseus-gi": _perseus("g", "i", 1.103, -0.060, 0.065),
        "perseus-rz": _perseus("r", "z", 0.628, -0.035, 0.051),
    }
)
"""The red sequences of Perseus. All but g - z are of bright members only (r_0 < 17, say)."""
