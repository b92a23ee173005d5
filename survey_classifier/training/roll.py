"""The roll of a labeled table: how many of its rows are used, and why the others are not.

Owns the words for it. Does not own who decides (``labels``, ``dataset``).
"""

from dataclasses import dataclass, field, replace

from survey_classifier.words import counted

__all__ = [
    "BAD_PIXELS",
    "CUT",
    "FLAT",
    "IGNORED",
    "KNOWN",
    "NO_DATA",
    "NO_THUMBNAIL",
    "OFF_MOSAIC",
    "RED",
    "TWICE",
    "Roll",
]

IGNORED = "ignored"
CUT = "cut"
TWICE = "twice"
NO_THUMBNAIL = "without a thumbnail"
KNOWN = "in a table above"
OFF_MOSAIC = "off the mosaic"
NO_DATA = "without data"
BAD_PIXELS = "on bad pixels"
FLAT = "flat"
RED = "red"
"""Why a row is not used: its label; ``max``; its object is in a row or a table before; it names no
image; its source is outside, where there is nothing, or on what is masked; a band of its stamp
has one value; ``drop_red``."""

REMEDIES = {
    IGNORED: "ignore of [labels]",
    CUT: "max of its [[data]]",
    NO_THUMBNAIL: "the column that columns.thumb names",
    KNOWN: "the tables above it",
    OFF_MOSAIC: "its ra and dec",
    NO_DATA: "its images",
    BAD_PIXELS: "its images",
    FLAT: "its images",
    RED: "drop_red",
}
"""What to look at if too many rows are left out for a reason."""


@dataclass(frozen=True, slots=True)
class Roll:
    """What became of the rows of a table, as far as is known."""

    table: str
    """Its name."""
    n_row: int
    """All of its rows."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Rows that are not used, by reason, in the order of the decisions; none is 0."""

    @property
    def n_used(self) -> int:
        """Rows that are used."""
        return self.n_row - sum(self.left_out.values())

    @property
    def line(self) -> str:
        """The sum, in words."""
        parts = {"used": self.n_used, **self.left_out}
        total = " + ".join(f"{n} {fate}" for fate, n in parts.items())
        return f"{self.table}: {counted(self.n_row, 'row')} = {total}"

    @property
    def remedy(self) -> str:
        """What to look at where none is left."""
        named = dict.fromkeys(REMEDIES[why] for why in self.left_out if why in REMEDIES)
        return f"look at {' and '.join(named)}, or leave the table out"

    def without(self, reason: str, n: int) -> "Roll":
        """Return the roll with more rows that are left out.

        Parameters
        ----------
        reason
            Why.
        n
            How many; there may be none.
        """
        return replace(self, left_out=self.left_out | {reason: n}) if n else self
