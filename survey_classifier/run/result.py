"""What a report is about: the published catalog, read back, beside what it comes from.

Owns which columns a report reads and which rows it calls classified. Does not own what is shown
(``report``) nor how (``figures``, ``page``).
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from survey_classifier.catalog.footer import Provenance
from survey_classifier.catalog.read import column_names, read_columns, read_provenance
from survey_classifier.errors import LostSourcesError
from survey_classifier.membership.flags import Status
from survey_classifier.model.card import ModelCard
from survey_classifier.model.checkpoint import read_card
from survey_classifier.model.shipped import resolve_checkpoint
from survey_classifier.run.config import RunConfig
from survey_classifier.run.receipt import RunReceipt
from survey_classifier.run.truth import Comparison, Truth

__all__ = ["DIAGRAM_BANDS", "Result"]

DIAGRAM_BANDS = ("g", "r", "z")
"""Bands of the color-magnitude diagram."""

_COLUMNS = ("source_id", "status", "ra", "dec", "p_image", "p_member", "prior_member", "z_class")


@dataclass(frozen=True)
class Result:
    """A finished run and its catalog."""

    config: RunConfig
    card: ModelCard
    receipt: RunReceipt
    provenance: Provenance
    columns: dict[str, npt.NDArray[Any]]
    """Columns of the catalog; magnitudes only those that are drawn."""
    comparison: Comparison | None
    """None without a truth."""

    @classmethod
    def read(cls, path: Path, config: RunConfig, receipt: RunReceipt) -> Self:
        """Read the catalog and the truth of a run.

        Raises
        ------
        CatalogError
            If the catalog cannot be read.
        CheckpointError
            If the network's card cannot be read.
        SourcesError
            If the table of the truth cannot be used.
        LostSourcesError
            If catalog and receipt do not hold the same number of sources.
        """
        columns = read_columns(path, (*_COLUMNS, *_drawn_columns(column_names(path))))
        if len(columns["status"]) != receipt.n_in:
            raise LostSourcesError(
                f"{path} holds {len(columns['status'])} rows for {receipt.n_in} sources; "
                "remove the folder of parts and run again"
            )
        truth = Truth.read(config)
        comparison = None
        if truth is not None:
            comparison = truth.compare(columns["source_id"], columns["p_member"])
        card = read_card(resolve_checkpoint(config.checkpoint, config.folder))
        return cls(config, card, receipt, read_provenance(path), columns, comparison)

    @cached_property
    def classified(self) -> npt.NDArray[np.bool_]:
        """Which rows have a score, shape ``(n,)``."""
        return np.asarray(self.columns["status"] == Status.CLASSIFIED.value, dtype=np.bool_)

    def scored(self, name: str) -> npt.NDArray[Any]:
        """Return a column of the classified sources."""
        return self.columns[name][self.classified]

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands whose magnitudes were read."""
        return tuple(n.removeprefix("mag_") for n in self.columns if n.startswith("mag_"))

    @property
    def simulated(self) -> bool:
        """Whether the field is a simulation."""
        return self.config.truth is not None and self.config.truth.simulated

    @property
    def truth_name(self) -> str:
        """What the truth is called wherever a figure rests on it."""
        return "simulated truth" if self.simulated else "truth"

    @property
    def prior(self) -> str:
        """The share of members that was assumed, or its range."""
        prior = self.columns["prior_member"]
        known = prior[np.isfinite(prior)]
        if not len(known):
            return "none"
        low, high = float(known.min()), float(known.max())
        return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def _drawn_columns(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns of magnitudes and colors that the page draws."""
    if all(f"mag_{band}" in names for band in DIAGRAM_BANDS):
        return (*(f"mag_{band}" for band in DIAGRAM_BANDS), "r0", "color_gz")
    return tuple(name for name in names if name.startswith("mag_"))[:1]
