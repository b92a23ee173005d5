"""The published columns: name, type, unit, UCD and meaning of each.

Owns what users see of a catalog; their scripts rest on these names. Does not own the order of
the groups nor rules across columns (``schema``), nor what the flag bits and statuses are
(``membership.flags``).
"""

import numpy as np

from survey_classifier.catalog.column import Column
from survey_classifier.membership.flags import Flag, Status
from survey_classifier.stamps import MASK_BITS

__all__ = [
    "PIXEL_COLUMN_NAMES",
    "class_column",
    "color_columns",
    "magnitude_column",
    "pixel_columns",
    "redshift_columns",
    "score_columns",
    "source_columns",
]

_SHARE = (0.0, 1.0)
_NO_EVIDENCE = "not computed yet: NaN"


PIXEL_COLUMN_NAMES = ("valid_fraction", *(f"mask_{str(bit.name).lower()}" for bit in MASK_BITS))
"""What a stamp is made of, in the order of the catalog."""


def source_columns() -> tuple[Column, ...]:
    """Return which source a row is about, and what became of it."""
    flags = ", ".join(f"{flag.value} {flag.name}" for flag in Flag)
    reasons = ", ".join(member.value for member in Status if member is not Status.CLASSIFIED)
    pixel = "position on the tile's mosaic in pixels, integer = center, origin 0; NaN: off its sky"
    return (
        Column("source_id", "string", "", "meta.id;meta.main", "Identifier in the source list"),
        Column(
            "ra",
            "float64",
            "deg",
            "pos.eq.ra;meta.main",
            "Right ascension (ICRS) in the source list; NaN: unknown",
            (0.0, 360.0),
        ),
        Column(
            "dec",
            "float64",
            "deg",
            "pos.eq.dec;meta.main",
            "Declination (ICRS) in the source list; NaN: unknown",
            (-90.0, 90.0),
        ),
        Column("x", "float64", "pixel", "pos.cartesian.x", f"Horizontal {pixel}"),
        Column("y", "float64", "pixel", "pos.cartesian.y", f"Vertical {pixel}"),
        Column(
            "tile",
            "string",
            "",
            "meta.id;obs.field",
            "Tile that owns the source; of several mosaics, the mosaic's name and its tile",
        ),
        Column(
            "status",
            "string",
            "",
            "meta.code.status",
            f"Outcome: classified, or the reason why not ({reasons})",
        ),
        Column("flags", "int32", "", "meta.code", f"Warnings, sum of bits: {flags}"),
    )


def score_columns() -> tuple[Column, ...]:
    """Return the network's probability, the pieces of evidence, and the posterior."""
    return (
        Column(
            "p_image",
            "float32",
            "",
            "stat.probability",
            "Probability of membership by the image alone: the network's, temperature-scaled, "
            "at the prevalence of its training; NaN: not classified",
            _SHARE,
            scored=True,
        ),
        Column(
            "p_image_err",
            "float32",
            "",
            "stat.error;stat.probability",
            "Standard deviation of p_image over the rotated and flipped views; NaN: one view only",
            _SHARE,
        ),
        _evidence_column("image", "the image: log-odds of p_image less those of the training"),
        _evidence_column("color", f"the color; {_NO_EVIDENCE}"),
        _evidence_column("redshift", f"the spectroscopic redshift; {_NO_EVIDENCE}"),
        _evidence_column("position", f"the position in the cluster; {_NO_EVIDENCE}"),
        Column(
            "prior_member",
            "float32",
            "",
            "stat.probability",
            "Share of members assumed among sources like this one in the field, before evidence",
            _SHARE,
        ),
        Column(
            "p_member",
            "float32",
            "",
            "stat.probability",
            "Posterior probability of membership: prior_member with all llr_* that are numbers; "
            "NaN: not classified",
            _SHARE,
            scored=True,
        ),
    )


def _evidence_column(name: str, what: str) -> Column:
    return Column(
        f"llr_{name}",
        "float32",
        "",
        "stat.likelihood",
        f"Evidence, natural log of the likelihood ratio member to non-member, of {what}",
    )


def class_column(name: str) -> Column:
    """Return the posterior of a class other than ``member``."""
    return Column(
        f"p_{name}",
        "float32",
        "",
        "stat.probability",
        f"Posterior probability of the class {name}: the share 1 - p_member, divided among the "
        "other classes as the network does; NaN: not classified",
        _SHARE,
        scored=True,
    )


def redshift_columns() -> tuple[Column, ...]:
    """Return what spectroscopy says."""
    return (
        Column("z", "float64", "", "src.redshift", "Spectroscopic redshift; NaN: none"),
        Column("z_err", "float32", "", "stat.error;src.redshift", "Error of z; NaN: unknown"),
        Column(
            "z_class",
            "string",
            "",
            "meta.code.class;src.redshift",
            "Class by z alone: star, cluster or background; empty: no redshift",
        ),
        Column(
            "dynamic_member",
            "int16",
            "",
            "meta.code.member;src.redshift",
            "Whether z lies in the cluster's velocity window: 1 yes, 0 no, -1 no redshift",
            (-1, 1),
        ),
        Column("spec_class", "string", "", "src.class", "Class by the spectrum; empty: unknown"),
        Column(
            "z_separation_arcsec",
            "float32",
            "arcsec",
            "pos.angDistance",
            "Distance from the source to the object whose redshift it got; NaN: none",
            (0.0, np.inf),
        ),
        Column(
            "z_warning",
            "int32",
            "",
            "meta.code.qual;src.redshift",
            "Warning bits of the redshift as its survey gives them; 0: good, -1: unknown",
        ),
    )


def magnitude_column(band: str) -> Column:
    """Return the magnitude in one band."""
    return Column(
        f"mag_{band}",
        "float32",
        "mag",
        "phot.mag",
        f"Magnitude in {band} of the source list, corrected for extinction; NaN: unknown",
    )


def color_columns() -> tuple[Column, ...]:
    """Return reddening, color and its region."""
    return (
        Column("ebv", "float64", "mag", "phot.color.excess", "Reddening E(B-V); NaN: unknown"),
        Column(
            "color_gz",
            "float32",
            "mag",
            "phot.color",
            "Color g - z, corrected for extinction; NaN: unknown",
        ),
        Column(
            "delta_rs",
            "float32",
            "mag",
            "phot.color;arith.diff",
            "color_gz less that of the red sequence at the source's magnitude in r; NaN: unknown",
        ),
        Column(
            "color_region",
            "string",
            "",
            "src.class.color",
            "Region of delta_rs: red_shoulder, red_sequence, green_valley or blue_cloud; "
            "empty: unknown",
        ),
    )


def pixel_columns() -> tuple[Column, ...]:
    """Return how good the stamp was, and the position's HEALPix index."""
    return (
        Column(
            PIXEL_COLUMN_NAMES[0],
            "float32",
            "",
            "stat.filling",
            "Share of the stamp's pixels that are usable in every band; NaN: no stamp",
            _SHARE,
        ),
        *(
            Column(
                name,
                "float32",
                "",
                "stat.filling",
                f"Share of the stamp's pixels with mask bit {bit.name} in any band; NaN: no stamp",
                _SHARE,
            )
            for name, bit in zip(PIXEL_COLUMN_NAMES[1:], MASK_BITS, strict=True)
        ),
        Column(
            "_healpix_29",
            "int64",
            "",
            "pos.healpix",
            "HEALPix index of the position, nested, order 29; -1: no position",
        ),
    )
