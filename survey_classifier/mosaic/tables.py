"""What an inspection says, as tables for a terminal.

Owns their words and columns. Does not own the figures (``inspect``).
"""

import math
from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.table import Table

from survey_classifier.mosaic.inspect import BandInspection, Inspection
from survey_classifier.mosaic.pixels import BandInfo, MaskBit
from survey_classifier.words import are, counted

__all__ = ["describe"]

UNKNOWN = "-"
MASK_TITLES = {
    MaskBit.NO_DATA: "no\ndata", MaskBit.SATURATED: "satu-\nrated", MaskBit.BAD: "bad",
    MaskBit.COSMIC_RAY: "cosmic\nray", MaskBit.BRIGHT_STAR: "bright\nstar", MaskBit.EDGE: "edge",
    MaskBit.SUSPECT: "sus-\npect", MaskBit.INTERPOLATED: "inter-\npolated",
}  # fmt: skip
FEW = 5e-6
"""A share that would be rounded to nothing."""


def describe(found: Inspection) -> Iterator[str | Table]:
    """Yield what an inspection says: lines and tables.

    Parameters
    ----------
    found
        What a store holds.
    """
    yield from _overview(found)
    yield _band_table(found)
    yield _mask_table(found)
    yield from _notes(found)


def _overview(found: Inspection) -> Iterator[str]:
    """Yield the lines about the store as a whole."""
    n_finished = sum(band.n_finished for band in found.bands)
    n_shards = found.n_shards * len(found.bands)
    state = f"finished, digest {found.digest[:12]}" if found.digest else "not finished"
    ny, nx = found.shape
    yield f"store      {found.store}"
    shards = f"{n_finished} of {counted(n_shards, 'shard')} {are(n_shards)} written"
    yield f"state      {state}, {shards}"
    yield f"grid       {nx} x {ny} px of {found.scale_arcsec:.4g} arcsec"
    if found.territory:
        yield f"territory  {found.territory}"
    corners = ", ".join(f"{ra:.5f} {dec:+.5f}" for ra, dec in found.corners_deg)
    yield f"corners    RA Dec {corners}"
    yield (
        f"area       {found.any_deg2:.4g} deg2 with data in any band, "
        f"{found.usable_deg2:.4g} deg2 usable in every band"
    )


def _band_table(found: Inspection) -> Table:
    """Return the table of the bands."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for title in ("band", "unit"):
        table.add_column(title, no_wrap=True)
    titles = ("zero\npoint", "FWHM\narcsec", "noise\nper px", "noise\ncorr.", "5 sigma\nmag AB",
              "across\narcsec", "data\ndeg2", "vari-\nance", "shards")  # fmt: skip
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for band in found.bands:
        table.add_row(*_band_cells(band, found.n_shards))
    return table


def _band_cells(found: BandInspection, n_shards: int) -> tuple[str, ...]:
    """Return the cells of a band's row."""
    band, depth = found.band, found.depth
    return (
        band.name,
        band.unit,
        _number(band.zero_point, ".3f"),
        _number(band.psf_fwhm_arcsec, ".3g"),
        _number(found.noise, ".3g"),
        _number(found.correlation, ".2f"),
        _number(depth.magnitude, ".2f"),
        _number(depth.aperture_arcsec if math.isfinite(depth.magnitude) else None, ".3g"),
        _number(found.data_deg2, ".4g"),
        _variance(band),
        f"{found.n_finished}/{n_shards}",
    )


def _variance(band: BandInfo) -> str:
    """Say whether the variance is known, of all of the band's files or of a part of them."""
    if not band.has_variance:
        return "no"
    return "part" if band.variance_in_part else "yes"


def _mask_table(found: Inspection) -> Table:
    """Return the table of masked shares, a row for each band and a column for each bit."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("masked\n%", no_wrap=True)
    for bit in MaskBit:
        table.add_column(MASK_TITLES[bit], justify="right", no_wrap=True)
    for band in found.bands:
        table.add_row(band.band.name, *(_masked(band, bit) for bit in MaskBit))
    return table


def _masked(found: BandInspection, bit: MaskBit) -> str:
    """Return a cell of that table; a flaw that no file could say of a pixel is not known."""
    share = found.masked[bit]
    if share == 0 and bit is not MaskBit.NO_DATA and not found.band.has_mask:
        return UNKNOWN
    return _percent(share)


def _notes(found: Inspection) -> Iterator[str]:
    """Yield the lines that say what the figures mean."""
    yield "masked: no data is a share of the grid, the others of the pixels that have data"
    if not all(band.band.has_mask for band in found.bands):
        yield f"        {UNKNOWN} where none of the band's files came with a mask"
    if any(band.band.variance_in_part for band in found.bands):
        yield "variance: part where some of the band's files came without"
    yield "noise corr.: noise of 4 x 4 px over that of as many independent ones"
    if any(math.isfinite(band.depth.magnitude) for band in found.bands):
        yield (
            "5 sigma: all the light of a point source, in an aperture as wide as 2 FWHM of the "
            "seeing,\n         or 2 arcsec where it is unknown; noise as correlated as stated, "
            f"not at all for {UNKNOWN}"
        )


def _number(value: float | None, how: str) -> str:
    """Format a number, if there is one."""
    return UNKNOWN if value is None or not math.isfinite(value) else format(value, how)


def _percent(share: float) -> str:
    """Format a share; a small one is not rounded to none."""
    if 0 < share < FEW:
        return "< 0.001"
    return _number(100 * share, ".3f") if share else "0"
