"""The published columns of magnitudes, of colors and of what tells stars from galaxies.

Owns their names, types, units, UCDs and meaning, as ``columns`` does of the others. Does not own
what a color means for membership (``membership``).
"""

import numpy as np

from survey_classifier.catalog.column import Column

__all__ = ["color_columns", "magnitude_column", "magnitude_error_column", "star_columns"]

_SHARE = (0.0, 1.0)


def magnitude_column(band: str) -> Column:
    """Return the magnitude in one band."""
    return Column(
        f"mag_{band}",
        "float32",
        "mag",
        "phot.mag",
        f"Magnitude in {band} of the source list, corrected for extinction; NaN: unknown",
    )


def magnitude_error_column(band: str) -> Column:
    """Return the error of the magnitude in one band."""
    return Column(
        f"magerr_{band}",
        "float32",
        "mag",
        "stat.error;phot.mag",
        f"Error of mag_{band} in the source list; NaN: unknown",
        (0.0, np.inf),
    )


def star_columns() -> tuple[Column, ...]:
    """Return what the source list says of stars."""
    return (
        Column(
            "point_likeness",
            "float32",
            "",
            "src.class.starGalaxy",
            "How much it looks like a point, 0 extended to 1 a point; NaN: unknown",
            _SHARE,
        ),
        Column(
            "gaia",
            "float32",
            "",
            "src.class.starGalaxy",
            "Whether Gaia calls it a star: 1 yes, 0 no; NaN: unknown",
            _SHARE,
        ),
    )


def color_columns() -> tuple[Column, ...]:
    """Return reddening, color and its region."""
    return (
        Column("ebv", "float64", "mag", "phot.color.excess", "Reddening E(B-V); NaN: unknown"),
        Column(
            "r0",
            "float32",
            "mag",
            "phot.mag;em.opt.R",
            "Magnitude in r of the SDSS system, corrected for extinction, that prior and evidence "
            "go by; NaN: unknown",
        ),
        Column(
            "color_gz",
            "float32",
            "mag",
            "phot.color",
            "Color g - z of the SDSS system, corrected for extinction; NaN: unknown",
        ),
        Column(
            "delta_rs",
            "float32",
            "mag",
            "phot.color;arith.diff",
            "Color less that of the red sequence at the source's magnitude; NaN: unknown",
        ),
        Column(
            "delta_rs_err",
            "float32",
            "mag",
            "stat.error;phot.color",
            "Error of delta_rs by the errors of the magnitudes; NaN: unknown",
            (0.0, np.inf),
        ),
        Column(
            "color_region",
            "string",
            "",
            "src.class.color",
            "Region of delta_rs: red_shoulder, red_sequence, green_valley or blue_cloud; "
            "empty: unknown",
        ),
        Column(
            "legacy_strip",
            "string",
            "",
            "src.class.color",
            "Side of the strip r + 14.3 (g - z) in observed magnitudes of SDSS: blue_side, "
            "red_sequence or red_side; empty: unknown",
        ),
    )
