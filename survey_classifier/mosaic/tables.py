"""What an inspection says, as tables for a terminal.

Owns their words and columns. Does not own the figures (``inspect``).
"""

import math
from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.table import Table

from survey_classifier.mosaic.inspect import BandInspection, Inspection
from survey_classifier.mosaic.pixels import MaskBit

__all__ = ["describe"]

UNKNOWN = "-"
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
    yield f"state      {state}, {n_finished} of {n_shards} shards are written"
    yield f"grid       {nx} x {ny} px of {found.scale_arcsec:.4g} arcsec"
    if found.territory:
        yield f"territory  {found.territory}"
    corners = ",  ".join(f"{ra:.5f} {dec:+.5f}" for ra, dec in found.corners_deg)
    yield f"corners    {corners}  (RA Dec, deg)"
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
              "within\narcsec", "data\ndeg2", "vari-\nance", "shards")  # fmt: skip
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
        "yes" if band.has_variance else "no",
        f"{found.n_finished}/{n_shards}",
    )


def _mask_table(found: Inspection) -> Table:
    """Return the table of masked shares, a row for each bit and a column for each band."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("masked, %", no_wrap=True)
    for band in found.bands:
        table.add_column(band.band.name, justify="right", no_wrap=True)
    for bit in MaskBit:
        title = str(bit.name).lower().replace("_", " ")
        table.add_row(title, *(_percent(band.masked[bit]) for band in found.bands))
    return table


def _notes(found: Inspection) -> Iterator[str]:
    """Yield the lines that say what the figures mean."""
    yield "masked: no data is a share of the grid, the others of the pixels that have data"
    yield "noise corr.: noise of 4 x 4 px over that of as many independent ones"
    if any(math.isfinite(band.depth.magnitude) for band in found.bands):
        yield (
            "depth: 5 sigma of all the light of a point source, within 2 FWHM of the seeing, or 2 "
            f"arcsec where it is unknown; noise as correlated as stated, not at all for {UNKNOWN}"
        )


def _number(value: float | None, how: str) -> str:
    """Format a number, if there is one."""
    return UNKNOWN if value is None or not math.isfinite(value) else format(value, how)


def _percent(share: float) -> str:
    """Format a share; a small one is not rounded to none."""
    if 0 < share < FEW:
        return "< 0.001"
    return _number(100 * share, ".3f") if share else "0"
