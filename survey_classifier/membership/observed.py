"""What was observed of n sources, as far as evidence is made of it.

Owns the names and that NaN is what is unknown. Does not own what it says (``evidence``).
"""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

__all__ = ["Observed"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """What is known of n sources; every array is float64 of shape ``(n,)``, NaN = unknown."""

    p_image: Floats
    """The network's calibrated probability; NaN: not classified, and so is ``p_member``."""
    r0: Floats
    """Dereddened r magnitude."""
    delta_rs: Floats
    """Distance from the red sequence in mag."""
    delta_rs_err: Floats
    """NaN where delta_rs is known: the usual one (``evidence.USUAL_COLOR_ERR``)."""
    radius_deg: Floats
    """Distance from the cluster's center in degrees."""
    z: Floats
    """Spectroscopic redshift."""
    z_err: Floats
    z_warning: Floats
    """Warning bits of the redshift; 0: good, -1 or NaN: unknown."""
    point_likeness: Floats
    """0 (extended) to 1 (a point), as of ``sources.pointlike``."""
    gaia: Floats
    """1: Gaia calls it a star, 0: it does not."""
    p_image_star: Floats
    """The network's probability of its class star, if it has one."""
    g_r: Floats
    """Dereddened g - r, for the stars' locus."""
    r_z: Floats
    """Dereddened r - z."""
    p_star: Floats
    """Probability of a star known from elsewhere, for sources without star evidence here."""

    @classmethod
    def of(cls, **known: npt.ArrayLike) -> Self:
        """Return what is known, with NaN for all that is not named.

        Parameters
        ----------
        known
            Field to array of shape (n,), of any number type; ``p_image`` at least.
        """
        n = len(np.asarray(known["p_image"]))
        nothing = np.full(n, np.nan)
        arrays = {name: np.asarray(values, dtype=np.float64) for name, values in known.items()}
        return cls(**({each.name: nothing for each in fields(cls)} | arrays))

    def __len__(self) -> int:
        return len(self.p_image)

    def rows(self, which: slice) -> "Observed":
        """Return some of the rows."""
        return Observed(*(getattr(self, each.name)[which] for each in fields(self)))
