"""From stamps of a mosaic to the input of a network.

Owns the one resampling that brings scale, sub-pixel centering and rotation together, the
stretch, and the size and pyramid level that stamps are cut at. Does not own the constants
(``card``), the cut (``stamps``) or the views that a score is averaged over (``scorer``).

The grid of a network's input has ``stamp_px`` pixels a side, an even number as a rule, and the
source lies exactly at its center ``(stamp_px - 1) / 2``: between the two middle pixels where
``stamp_px`` is even. So the eight orientations of the square are exact permutations of pixels.
"""

import math
from collections.abc import Collection, Mapping

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from survey_classifier.errors import CheckpointError
from survey_classifier.model.card import ModelCard
from survey_classifier.model.shipped import shipped_cards
from survey_classifier.mosaic.pixels import Described

__all__ = [
    "MAX_CUT_PX",
    "SCALE_TOLERANCE",
    "cut_size_px",
    "pyramid_level",
    "require_mosaic",
    "to_network_input",
]

MAX_CUT_PX = 2048
"""Side of the largest stamp: one of 1 GB would come of a wrong size or scale."""
SCALE_TOLERANCE = 1.001
"""Pixel scales this close are the same: WCS of one survey differ in the fourth digit."""
SINGLE_SAMPLE_RATIO = 1.5
"""Up to this many input pixels in an output pixel, bilinear sampling needs no averaging."""
MIN_WEIGHT = 0.5
"""An output pixel is valid if at least this share of what it is made of is."""


def cut_size_px(card: ModelCard, scale_arcsec: float, *, rotated: bool = False) -> int:
    """Return the side of the stamp that covers a network's input.

    Parameters
    ----------
    card
        The network's card.
    scale_arcsec
        Pixel scale that stamps are cut at.
    rotated
        Whether the input is to be rotated by any angle, so that its corners reach sqrt 2 wider.

    Returns
    -------
    int
        Odd, so that the source's pixel is the middle one. 20 arcsec at 0.4 arcsec: 53 pixels
        (50, half a pixel of sub-pixel shift and the neighbor that bilinear sampling needs).
    """
    half_px = card.stamp_arcsec / scale_arcsec / 2 * (math.sqrt(2) if rotated else 1.0)
    # The tolerance keeps a scale of 0.39999 from needing two pixels more than 0.4.
    return 2 * math.ceil(half_px / SCALE_TOLERANCE + 0.5) + 1


def pyramid_level(card: ModelCard, scale_arcsec: float, n_levels: int) -> int:
    """Return the coarsest pyramid level that is still as fine as the network's input.

    Parameters
    ----------
    card
        The network's card.
    scale_arcsec
        Pixel scale of level 0.
    n_levels
        Number of levels that there are.

    Raises
    ------
    CheckpointError
        If even level 0 is coarser than the network's input.
    """
    limit = card.scale_arcsec * SCALE_TOLERANCE
    if scale_arcsec > limit:
        raise CheckpointError(
            f"the mosaic has {scale_arcsec:.4g} arcsec/px, the checkpoint {card.name} needs"
            f" {card.scale_arcsec:.4g} or finer; choose another checkpoint, or ingest with a finer"
            " mosaic.scale_arcsec"
        )
    return max(level for level in range(n_levels) if scale_arcsec * 2**level <= limit)


def require_mosaic(
    card: ModelCard, source: Described, bands: Collection[str] | None = None
) -> None:
    """Raise unless a mosaic has the bands (in any order), unit and scale that a network needs.

    A band too many is refused like one too few: the checkpoint may be the wrong one.

    Parameters
    ----------
    card
        Card of the network.
    source
        The mosaic.
    bands
        The mosaic's bands that are meant to be used; by default all.

    Raises
    ------
    CheckpointError
        Names what the mosaic has and what the card needs.
    """
    have = {b.name: b.unit for b in source.bands if bands is None or b.name in bands}
    if have.keys() != set(card.bands):
        raise CheckpointError(
            f"the mosaic {source.name} has the bands {', '.join(sorted(have))}, the checkpoint"
            f" {card.name} needs exactly {', '.join(sorted(card.bands))};"
            f" {_other_checkpoint(card, have, source.scale_arcsec)}"
        )
    for band in card.bands:
        if have[band] != card.unit:
            raise CheckpointError(
                f"band {band!r} of the mosaic {source.name} is in {have[band]}, the checkpoint"
                f" {card.name} needs {card.unit}; choose another checkpoint or ingest it again"
            )
    pyramid_level(card, source.scale_arcsec, source.n_levels)


def _other_checkpoint(card: ModelCard, have: Mapping[str, str], scale_arcsec: float) -> str:
    """Return what can be done about a mosaic that has other bands than a network needs."""
    if have.keys() > set(card.bands):
        return "name these as mosaic.bands, or choose another checkpoint"
    for shipped in shipped_cards():
        has_bands = all(have.get(band) == shipped.unit for band in shipped.bands)
        if has_bands and scale_arcsec <= shipped.scale_arcsec * SCALE_TOLERANCE:
            return f"{shipped.name}, which is shipped, fits: choose it, or ingest other bands"
    return (
        "none that is shipped fits: train one, or ingest other bands; ingest, inspect and detect"
        " need no checkpoint that fits"
    )


def to_network_input(
    flux: torch.Tensor,
    offset_px: torch.Tensor,
    scale_arcsec: float,
    card: ModelCard,
    rotation_deg: torch.Tensor | float = 0.0,
    flip: torch.Tensor | bool = False,
) -> torch.Tensor:
    """Return the network's input, made of stamps by one resampling, on their own device.

    Parameters
    ----------
    flux
        Stamps ``(n, band, s, s)`` in the card's unit (nJy per stamp pixel, or display) with the
        card's order of bands; NaN = invalid.
    offset_px
        ``(n, 2)``: sources' (x, y) less the center of pixel ``s // 2``, in stamp pixels.
    scale_arcsec
        Pixel scale of the stamps.
    card
        The network's card.
    rotation_deg
        Angle, one or ``(n,)``, by which the output's axes are turned on the stamp.
    flip
        Whether the output's x axis is mirrored before that, one or ``(n,)``.

    Returns
    -------
    Tensor
        ``(n, band + 1, stamp_px, stamp_px)`` float32, finite: the stretched bands, 0 where
        invalid (where the card is ``gray``, the mean of the valid ones in each), and one channel
        that is 1 where all bands are valid and 0 elsewhere.
    """
    grid = _sampling_grid(flux, offset_px, scale_arcsec, card, rotation_deg, flip)
    value, valid = _resample(flux, grid, _samples_per_px(scale_arcsec, card))
    if card.unit == "nJy":
        value = value / scale_arcsec**2  # surface brightness holds across pixel scales
    softening, maximum = _stretch_constants(card, flux)
    stretched = torch.asinh(value / softening) / torch.asinh(maximum / softening)
    channels = torch.where(valid, stretched, 0.0)  # (n, band, stamp_px, stamp_px)
    if card.gray:
        n_valid = valid.sum(dim=1, keepdim=True)
        channels = (channels.sum(dim=1, keepdim=True) / n_valid.clamp(min=1)).expand_as(channels)
    all_valid = valid.all(dim=1, keepdim=True).to(channels.dtype)
    return torch.cat([channels, all_valid], dim=1)


def _samples_per_px(scale_arcsec: float, card: ModelCard) -> int:
    """Return how many sub-points an output pixel has along each axis."""
    ratio = card.scale_arcsec / scale_arcsec
    return 1 if ratio <= SINGLE_SAMPLE_RATIO else math.ceil(ratio)


def _sampling_grid(
    flux: torch.Tensor,
    offset_px: torch.Tensor,
    scale_arcsec: float,
    card: ModelCard,
    rotation_deg: torch.Tensor | float,
    flip: torch.Tensor | bool,
) -> torch.Tensor:
    """Return where in each stamp the output's sub-points lie.

    Returns
    -------
    Tensor
        ``(n, k stamp_px, k stamp_px, 2)`` of (x, y) as `grid_sample` counts without aligned
        corners: -1 and 1 are the outer edges of the first and the last pixel.
    """
    n_point = card.stamp_px * _samples_per_px(scale_arcsec, card)
    step_px = card.stamp_arcsec / scale_arcsec / n_point
    points = torch.arange(n_point, device=flux.device, dtype=flux.dtype)
    axis = (points - (n_point - 1) / 2) * step_px  # from the source, in stamp pixels
    v, u = torch.meshgrid(axis, axis, indexing="ij")  # (y, x) each
    angle = torch.deg2rad(torch.as_tensor(rotation_deg, device=flux.device, dtype=flux.dtype))
    mirror = 1 - 2 * torch.as_tensor(flip, device=flux.device).to(flux.dtype)
    cosine, sine = (f(angle).reshape(-1, 1, 1) for f in (torch.cos, torch.sin))
    u = u * mirror.reshape(-1, 1, 1)  # (n or 1, y, x)
    around = torch.stack([cosine * u - sine * v, sine * u + cosine * v], dim=-1)
    size = flux.shape[-1]
    position = around + (size // 2 + offset_px).reshape(-1, 1, 1, 2)  # (n, y, x, 2)
    return (2 * position + 1) / size - 1


def _resample(
    flux: torch.Tensor, grid: torch.Tensor, n_sample: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return values and their validity at the output's pixels, both ``(n, band, y, x)``.

    Invalid pixels have no weight: a value is the weighted mean of the valid ones around it.
    """
    usable = torch.isfinite(flux)
    both = torch.cat([torch.where(usable, flux, 0.0), usable.to(flux.dtype)], dim=1)
    sampled = F.grid_sample(both, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    if n_sample > 1:
        sampled = F.avg_pool2d(sampled, n_sample)
    total, weight = sampled.chunk(2, dim=1)
    valid = weight >= MIN_WEIGHT
    return torch.where(valid, total / weight.clamp(min=MIN_WEIGHT), 0.0), valid


def _stretch_constants(card: ModelCard, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return softening and maximum of the bands in the card's order, ``(band, 1, 1)`` each."""
    stretches = [card.stretch[band] for band in card.bands]
    softening = torch.tensor([s.softening for s in stretches], dtype=like.dtype)
    maximum = torch.tensor([s.maximum for s in stretches], dtype=like.dtype)
    return (
        softening.to(like.device).reshape(-1, 1, 1),
        maximum.to(like.device).reshape(-1, 1, 1),
    )
