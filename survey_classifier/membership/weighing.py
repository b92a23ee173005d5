"""From a catalog's columns to its evidence columns, and the statement of how.

Owns which column is which observation, and the value that says all that went into a probability:
it is what a run carries to its tiles, what a catalog's footer states, and what reweighing changes.
Does not own the arithmetic (``evidence``) nor any file.

Columns are taken in the precision that a catalog stores, so that weighing a stored catalog again
gives the numbers that the run gave.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from survey_classifier.errors import CatalogError
from survey_classifier.membership.evidence import Assumptions, Weighed, weigh
from survey_classifier.membership.evidence_model import EvidenceModel
from survey_classifier.membership.flags import Flag
from survey_classifier.membership.observed import Observed
from survey_classifier.membership.priors import PriorTable
from survey_classifier.membership.redshift import RedshiftCuts
from survey_classifier.settings import Settings
from survey_classifier.sources.sky import separation_deg

__all__ = ["OBSERVED_COLUMNS", "Weighing"]

Floats = npt.NDArray[np.float64]
Columns = Mapping[str, npt.NDArray[Any]]

OBSERVED_COLUMNS = (
    "p_image", "p_image_star", "ra", "dec", "mag_g", "mag_r", "mag_z", "r0", "delta_rs",
    "delta_rs_err", "z", "z_err", "z_warning", "point_likeness", "gaia", "flags",
)  # fmt: skip
"""Columns that evidence is made of; all but ``p_image`` may be missing."""
_DOUBLE = {"ra", "dec", "z", "z_warning", "flags"}
"""Stored exactly; the others as floats of four bytes."""


class Weighing(Settings):
    """All that turns observations into a probability of membership."""

    evidence: EvidenceModel
    prior: PriorTable
    center_deg: tuple[Annotated[float, Field(ge=0, lt=360)], Annotated[float, Field(ge=-90, le=90)]]
    """Right ascension and declination of the cluster."""
    cuts: RedshiftCuts = RedshiftCuts()
    """The cluster's redshift and velocity dispersion."""
    without: tuple[str, ...] = ()
    """Names of `PIECES` that are left out."""

    @classmethod
    def of_statement(cls, text: str) -> "Weighing":
        """Return what a catalog's footer states.

        Raises
        ------
        CatalogError
            If the text is no such statement.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise CatalogError(
                f"the catalog's statement of its evidence cannot be read ({where}: "
                f"{error.errors()[0]['msg']}); it is of another version"
            ) from error

    @property
    def statement(self) -> str:
        """The same as JSON, for a catalog's footer; how well the model does is left out."""
        return self.model_dump_json(exclude={"evidence": {"metrics"}})

    @property
    def assumptions(self) -> Assumptions:
        """What is assumed beside the evidence model.

        Raises
        ------
        ConfigError
            If a name in ``without`` is not one of `PIECES`.
        """
        return Assumptions(prior=self.prior, cuts=self.cuts, without=frozenset(self.without))

    def weigh(self, columns: Columns) -> Weighed:
        """Return the evidence of a catalog's rows.

        Parameters
        ----------
        columns
            Those of `OBSERVED_COLUMNS` that there are, and ``p_star`` where it is known from
            elsewhere; each of shape (n,). Others are ignored.

        Raises
        ------
        RunError
            If a ``p_image`` is outside 0 <= p <= 1.
        """
        return weigh(self.observe(columns), self.evidence, self.assumptions)

    def observe(self, columns: Columns) -> Observed:
        """Return what a catalog's columns tell; takes what `weigh` takes."""
        have = {
            name: _as_stored(name, columns[name])
            for name in (*OBSERVED_COLUMNS, "p_star")
            if name in columns
        }
        n = len(have["p_image"])
        nothing = np.full(n, np.nan)
        mag = {band: have.pop(f"mag_{band}", nothing) for band in "grz"}
        r0 = have.pop("r0", mag["r"])
        ra, dec = have.pop("ra", nothing), have.pop("dec", nothing)
        flags = have.pop("flags", np.zeros(n)).astype(np.int64)
        # A redshift that may be another source's is as little worth as one with a warning.
        doubt = (flags & int(Flag.REDSHIFT_AMBIGUOUS)) != 0
        have["z_warning"] = np.where(doubt, 1.0, have.get("z_warning", nothing))
        return Observed.of(
            r0=r0,
            radius_deg=separation_deg(ra, dec, *self.center_deg),
            g_r=mag["g"] - mag["r"],
            r_z=mag["r"] - mag["z"],
            **have,
        )


def _as_stored(name: str, values: npt.NDArray[Any]) -> Floats:
    """Return values in the precision of the catalog's column."""
    stored = values if name in _DOUBLE else values.astype(np.float32, copy=False)
    return stored.astype(np.float64, copy=False)
