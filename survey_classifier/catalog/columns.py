"""The published columns: name, type, unit, UCD and meaning of each.

Owns what users see of a catalog; their scripts rest on these names. Does not own the columns of
magnitudes and colors (``photometry_columns``), the order of the groups nor rules across columns
(``schema``), nor what the flag bits and statuses are (``membership.flags``).
"""

import numpy as np

from survey_classifier.catalog.column import Column
from survey_classifier.membership.flags import Flag, Status
from survey_classifier.stamps import MASK_BITS

__all__ = [
    "PIXEL_COLUMN_NAMES",
    "class_column",
    "image_class_column",
    "pixel_columns",
    "redshift_columns",
    "score_columns",
    "source_columns",
]

_SHARE = (0.0, 1.0)
_NO_EVIDENCE = "NaN: none, or left out"


_EVIDENCE = {
    "image": "the image: log-odds of p_image less those of the training at this magnitude",
    "color": "delta_rs at this magnitude",
    "redshift": "the spectroscopic redshift",
    "position": "the distance from the cluster's center",
}

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
        Column(
            "novelty",
            "float32",
            "",
            "stat.value",
            "How unlike the network's training the stamp is: -log10 of the share of objects "
            "that training held out that are odder, extrapolated beyond the oddest; NaN: not "
            "classified, or the checkpoint tells none",
            (0.0, np.inf),
        ),
        *(_evidence_column(name, what) for name, what in _EVIDENCE.items()),
        Column(
            "prior_member",
            "float32",
            "",
            "stat.probability",
            "Share of members assumed among galaxies of this magnitude, before any evidence; the "
            "share at the source's distance from the center is in llr_position",
            _SHARE,
        ),
        Column(
            "p_star",
            "float32",
            "",
            "stat.probability",
            "Probability of being a star by point-likeness, Gaia, color and the network's class "
            "of stars, whatever of them there is; NaN: none",
            _SHARE,
        ),
        Column(
            "p_member",
            "float32",
            "",
            "stat.probability",
            "Posterior probability of membership: (1 - p_star) prior_member with all llr_* that "
            "are numbers, image and color by the weights in the footer; NaN: not classified",
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
        f"Evidence, natural log of the likelihood ratio member to non-member, of {what}; "
        f"{_NO_EVIDENCE}",
    )


def class_column(name: str) -> Column:
    """Return the posterior of a class other than ``member``."""
    return Column(
        f"p_{name}",
        "float32",
        "",
        "stat.probability",
        f"Posterior probability of the class {name}: what p_member leaves, less p_star of it where "
        "the network has a class of stars, divided among the others as the network does; NaN: not "
        "classified",
        _SHARE,
        scored=True,
    )


def image_class_column(name: str) -> Column:
    """Return what the network says of a class other than ``member``."""
    return Column(
        f"p_image_{name}",
        "float32",
        "",
        "stat.probability",
        f"Probability of the class {name} by the image alone, as p_image is that of member; NaN: "
        "not classified",
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
        Column(
            "caustic_member",
            "int16",
            "",
            "meta.code.member;src.redshift",
            "Whether z lies within the cluster's caustics (Diaferio 1999): 1 yes, 0 no, -1 no "
            "redshift, or too few for caustics",
            (-1, 1),
        ),
        Column("spec_class", "string", "", "src.class", "Class by the spectrum; empty: unknown"),
        Column(
            "z_source", "string", "", "meta.ref", "Table that z was taken from; empty: no redshift"
        ),
        Column(
            "z_separation_arcsec",
            "float32",
            "arcsec",
            "pos.angDistance",
            "Distance from the source to the object whose redshift it got; NaN: none, or joined "
            "by name",
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
