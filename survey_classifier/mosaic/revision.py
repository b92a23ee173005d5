"""What a layout changes in a store that is there.

Owns whether the two agree, and the bands that are added, described anew or given up. Does not own
what a new store is (``blueprint``) nor the writing of pixels (``writer``).
"""

from collections.abc import Iterable

import numpy as np
import zarr
from astropy.io import fits
from astropy.wcs import WCS

from survey_classifier.errors import MosaicError
from survey_classifier.mosaic.blueprint import Layout, attributes_of, create_band
from survey_classifier.mosaic.grids import bare_wcs
from survey_classifier.mosaic.pixels import BandInfo
from survey_classifier.mosaic.place import Place
from survey_classifier.mosaic.schema import (
    ATTRIBUTE,
    DIGESTS,
    WCS_ATTRIBUTE,
    bands_of,
    open_about,
    open_array,
)
from survey_classifier.mosaic.seal import digest_of
from survey_classifier.mosaic.shards import read_records
from survey_classifier.mosaic.sky import SkyGrid

__all__ = ["bring_up_to", "new_bands", "require_alike"]

FIXED_GRID = (
    ", and where more files are to come, give it a grid that they do not change: mosaic.extent = "
    "'survey' (HSC), or center_deg, size_px and scale_arcsec"
)


def bring_up_to(layout: Layout, group: zarr.Group, place: Place) -> None:
    """Add to a store what a layout has besides, and describe the layout's bands anew.

    A band that the layout has not stays, unless nothing was ever written of it: then it was given
    up, and the store could never be finished with it.
    A band that gets variance is made anew: the digests of its shards are over the variance too.

    Raises
    ------
    MosaicError
        If the layout cannot be written to it; see `require_alike`.
    """
    about = open_about(group, place)
    require_alike(layout, group, place)
    stored = {band.name: band for band in bands_of(about)}
    given_up = set() if about["digest"] else _given_up(layout, stored, group, place)
    new = new_bands(layout, stored.values())
    if new & stored.keys() and about["digest"]:
        group.attrs[ATTRIBUTE] = {**about, "digest": ""}
    for band in layout.bands:
        if band.name in new:
            create_band(group, band, layout.shape)
    # The layout's order, so that it does not matter which band came first.
    wanted = {band.name: band for band in layout.bands}
    kept = {name: band for name, band in stored.items() if name not in {*wanted, *given_up}}
    bands = wanted | kept
    attributes = attributes_of(layout, list(bands.values()))
    described = attributes[ATTRIBUTE]
    if {**about, "digest": ""} == described:
        return
    if about["digest"] and not new:
        # Only words have changed: a sealed store stays sealed.
        records = {
            name: np.asarray(open_array(group, f"{name}/{DIGESTS}", place)[:]) for name in bands
        }
        described["digest"] = digest_of(attributes[WCS_ATTRIBUTE], described, records)
    group.attrs.update(attributes)
    for name in given_up:
        del group[name]


def _given_up(layout: Layout, stored: Iterable[str], group: zarr.Group, place: Place) -> set[str]:
    """Return the names of a store's other bands of which no shard was ever written."""
    others = set(stored) - {band.name for band in layout.bands}
    return {name for name in others if not read_records(group, name, place).any()}


def new_bands(layout: Layout, stored: Iterable[BandInfo]) -> set[str]:
    """Return the names of a layout's bands that a store is to have as if they had not been there.

    Parameters
    ----------
    layout
        What is to be written.
    stored
        The bands of the store.
    """
    there = {(band.name, band.has_variance) for band in stored}
    # With variance where there is none is new; the other way around is refused.
    return {band.name for band in layout.bands if (band.name, band.has_variance) not in there}


def require_alike(layout: Layout, group: zarr.Group, place: Place) -> None:
    """Refuse a store that a layout cannot be written to.

    A store of one of the survey's areas may become one of several, that is, of no territory.

    Raises
    ------
    MosaicError
        If the store is of another grid, territory or rounding, or a band of it is of another unit
        or has variance where the layout's has not.
    """
    about = open_about(group, place)
    old_grid, new_grid = _grid_words(str(group.attrs[WCS_ATTRIBUTE]), layout)
    for what, has, wanted, more in (
        ("shape", tuple(about["shape"]), tuple(layout.shape), FIXED_GRID),
        ("WCS", old_grid, new_grid, FIXED_GRID),
        ("territory", about["territory"], layout.territory or about["territory"], ""),
        ("quantize", about["quantize"], layout.quantize, ""),
    ):
        if has != wanted:
            raise MosaicError(
                f"{place} has {what} {has!r}, not {wanted!r}: it was ingested with other settings "
                f"or inputs; remove it or name another store{more}"
            )
    stored = {band.name: band for band in bands_of(about)}
    for band in layout.bands:
        old = stored.get(band.name, band)
        if old.unit != band.unit or old.has_variance > band.has_variance:
            raise MosaicError(
                f"band {band.name} of {place} is in {_kind(old)}, its files are in {_kind(band)}; "
                "remove the store or name another"
            )


def _grid_words(header: str, layout: Layout) -> tuple[str, str]:
    """Say what a store's WCS and a layout's are, in the same words if they are the same."""
    old, new = bare_wcs(WCS(fits.Header.fromstring(header))), bare_wcs(layout.wcs)
    old_cards, new_cards = old.to_header(relax=True), new.to_header(relax=True)
    if old_cards.tostring() == new_cards.tostring():
        return "", ""
    words = []
    ny, nx = layout.shape
    for wcs in (old, new):
        ra, dec = SkyGrid(wcs).pixel_to_world([(nx - 1) / 2], [(ny - 1) / 2])
        scale = SkyGrid(wcs).scale_arcsec
        words.append(f"{wcs.wcs.ctype[0]}, center {ra[0]:.5f} {dec[0]:+.5f}, {scale:.4f} arcsec")
    keys = sorted({*old_cards, *new_cards})
    others = [key for key in keys if old_cards.get(key) != new_cards.get(key)]
    return words[0], f"{words[1]} ({', '.join(others[:4])} differ)"


def _kind(band: BandInfo) -> str:
    return f"{band.unit} {'with' if band.has_variance else 'without'} variance"
