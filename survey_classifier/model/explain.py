"""Explaining a score: where on its stamp a network finds what speaks for a member.

Owns the maps, in numbers. Does not own how a score is made (``scorer``), nor their drawing.

What is explained is the log odds of the class ``member`` by the mean logits of the views, which are
those of ``p_image``. All maps are means over the same views, turned back, and lie on the network's
input.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from survey_classifier.model.card import ModelCard
from survey_classifier.model.inputs import to_network_input
from survey_classifier.model.network import Network
from survey_classifier.model.resnet import ResNet
from survey_classifier.model.views import oriented, turned_back
from survey_classifier.model.vit import VisionTransformer
from survey_classifier.stamps import Stamps

__all__ = ["Explanation", "attention_rollout", "explain_stamps", "grad_cam", "occlusion"]

Floats = npt.NDArray[np.float32]
Method = Literal["Grad-CAM", "attention rollout"]

LEAST_CELLS = 7
"""Cells a side of the maps that Grad-CAM weighs: as many as the published networks have at their
end. Small stamps leave fewer there, so an earlier stage is taken for them."""
PATCHES_PER_SIDE = 7
"""Side of what is covered for the occlusion map, as a part of the stamp's."""
BATCH_SIZE = 128


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a stamp has its score."""

    x: Floats
    """``(band + 1, stamp_px, stamp_px)``: the network's input."""
    log_odds: float
    """Of ``member`` against all other classes, natural logarithm; temperature-scaled."""
    method: Method
    """What the focus is."""
    focus: Floats
    """``(stamp_px, stamp_px)``: Grad-CAM, above 0 where it speaks for ``member`` and below where
    against; or how much of the attention rests there, 1 = an equal share. NaN: no data."""
    occlusion: Floats
    """``(stamp_px, stamp_px)``: by how much the log odds fall where it is covered. NaN: no data."""


def explain_stamps(network: Network, card: ModelCard, stamps: Stamps) -> Iterator[Explanation]:
    """Yield the explanation of each stamp, in their order.

    Parameters
    ----------
    network
        In ``eval`` mode, not fused.
    card
        Its card.
    stamps
        Bands in the card's order, each with some valid pixel.
    """
    flux, offset = torch.from_numpy(stamps.flux), torch.from_numpy(stamps.offset_px)
    for row in range(len(stamps)):
        one = slice(row, row + 1)
        x = to_network_input(flux[one], offset[one], stamps.scale_arcsec, card)
        method, focus = _focus(network, card, x)
        with torch.inference_mode():
            log_odds = float(member_log_odds(network, card, x))
        seen = x[0].numpy()
        # The maps are coarser than pixels and spread over what the network had nothing of.
        maps = (
            np.where(seen[-1] > 0, values, np.float32(np.nan))
            for values in (focus, occlusion(network, card, x))
        )
        yield Explanation(seen, log_odds, method, *maps)


def _focus(network: Network, card: ModelCard, x: torch.Tensor) -> tuple[Method, Floats]:
    """Return the map that looks into the network, and what it is."""
    if isinstance(network, VisionTransformer):
        return "attention rollout", attention_rollout(network, card, x)
    return "Grad-CAM", grad_cam(network, card, x)


def member_log_odds(network: Network, card: ModelCard, x: torch.Tensor) -> torch.Tensor:
    """Return the log odds of ``member`` by the mean logits of the card's views.

    Parameters
    ----------
    network, card
        The network and its card.
    x
        Network input, shape ``(n, band + 1, stamp_px, stamp_px)``.

    Returns
    -------
    Tensor
        Shape ``(n,)``; `torch.special.expit` of it is ``p_image``.
    """
    logits = torch.stack([network(view) for view in oriented(x, card.n_views)]).mean(dim=0)
    return _log_odds(logits, card)


def _log_odds(logits: torch.Tensor, card: ModelCard) -> torch.Tensor:
    """Return the log odds ``(n,)`` of logits ``(n, class)``."""
    scaled = logits / card.temperature
    others = [index for index in range(len(card.classes)) if index != card.member_index]
    return scaled[:, card.member_index] - scaled[:, others].logsumexp(dim=1)


def grad_cam(network: ResNet, card: ModelCard, x: torch.Tensor) -> Floats:
    """Return the Grad-CAM of a stamp, with its sign (Selvaraju et al. 2017, ICCV, p. 618).

    Each map of a stage is weighed by the mean gradient of the log odds on it. Of the sum, what is
    above 0 is the published Grad-CAM of ``member``; what is below 0 is its counterfactual, that
    of the log odds turned around.

    Parameters
    ----------
    network, card
        The network and its card.
    x
        Network input, shape ``(1, band + 1, stamp_px, stamp_px)``.

    Returns
    -------
    ndarray of float32
        Shape ``(stamp_px, stamp_px)``.
    """
    n_early = _depth(network, x)
    total = torch.zeros(1, *x.shape[2:])
    for number, view in enumerate(oriented(x, card.n_views)):
        with torch.no_grad():
            maps = network.blocks[:n_early](network.stem(view))  # (1, map, cell, cell)
        maps.requires_grad_()
        features = network.blocks[n_early:](maps).mean(dim=(2, 3))
        (gradient,) = torch.autograd.grad(_log_odds(network.forward_head(features), card), maps)
        weighed = (gradient.mean(dim=(2, 3), keepdim=True) * maps.detach()).sum(dim=1)
        stride = 2 ** round(math.log2(x.shape[2] / maps.shape[2]))
        # Convolutions of odd size are centered on every stride-th pixel, from the first one on.
        total += turned_back(_onto_pixels(weighed, stride, 0.0, x.shape[2]), number)
    return _mean(total, card)


def _depth(network: ResNet, x: torch.Tensor) -> int:
    """Return after how many blocks the maps are weighed: as late as they are fine enough."""
    with torch.no_grad():
        maps = network.stem(x)
        sides = []
        for block in network.blocks:
            maps = block(maps)
            sides.append(maps.shape[2])
    least = min(LEAST_CELLS, max(sides))
    return max(number for number, side in enumerate(sides, 1) if side >= least)


def attention_rollout(network: VisionTransformer, card: ModelCard, x: torch.Tensor) -> Floats:
    """Return how much of the class token's attention rests on each part of a stamp.

    Attention is multiplied from block to block, half of each token's being on itself as the
    shortcuts pass it on (Abnar & Zuidema 2020, ACL, p. 4190).

    Parameters
    ----------
    network, card
        The network and its card.
    x
        Network input, shape ``(1, band + 1, stamp_px, stamp_px)``.

    Returns
    -------
    ndarray of float32
        Shape ``(stamp_px, stamp_px)``; 1 = an equal share of what rests on all patches.
    """
    total = torch.zeros(1, *x.shape[2:])
    for number, view in enumerate(oriented(x, card.n_views)):
        with torch.no_grad():
            layers = network.attention(view)
        rolled = torch.eye(layers[0].shape[-1])
        for weights in layers:
            mixed = weights[0].mean(dim=0)  # over the heads
            rolled = (mixed + torch.eye(len(mixed))) / 2 @ rolled
        on_patches = rolled[0, 1:] / rolled[0, 1:].mean()
        side = math.isqrt(len(on_patches))
        patch_px = x.shape[2] // side
        cells = on_patches.reshape(1, side, side)
        spread = _onto_pixels(cells, patch_px, (patch_px - 1) / 2, x.shape[2])
        total += turned_back(spread, number)
    return _mean(total, card)


def _onto_pixels(
    cells: torch.Tensor, stride_px: int, first_px: float, size_px: int
) -> torch.Tensor:
    """Return maps ``(n, size_px, size_px)`` of cells ``(n, cell, cell)``, linear in between.

    Cell k lies at pixel ``first_px + k stride_px``; beyond the last ones they go on level.
    """
    n_cell = cells.shape[-1]
    place = ((torch.arange(size_px) - first_px) / stride_px).clamp(0, n_cell - 1)
    weight = (1 - (place[:, None] - torch.arange(n_cell)).abs()).clamp(min=0)  # (px, cell)
    return weight @ cells @ weight.T


def _mean(total: torch.Tensor, card: ModelCard) -> Floats:
    """Return the mean over the views of a sum ``(1, y, x)``."""
    mean: Floats = (total[0] / card.n_views).numpy()
    return mean


def occlusion(network: Network, card: ModelCard, x: torch.Tensor) -> Floats:
    """Return by how much the log odds fall where a stamp is covered (Zeiler & Fergus 2014).

    A square is moved over the stamp in steps of half its side; within, each band has the median of
    the stamp's rim. A pixel has the mean of all squares that cover it. This looks at nothing within
    the network.

    Parameters
    ----------
    network, card
        The network and its card.
    x
        Network input, shape ``(1, band + 1, stamp_px, stamp_px)``.

    Returns
    -------
    ndarray of float32
        Shape ``(stamp_px, stamp_px)``.
    """
    size = x.shape[2]
    side = max(2, round(size / PATCHES_PER_SIDE))
    starts = _steps(size - side, side // 2)
    covers = torch.zeros(len(starts) ** 2, size, size)
    for number, (y0, x0) in enumerate((y0, x0) for y0 in starts for x0 in starts):
        covers[number, y0 : y0 + side, x0 : x0 + side] = 1
    sky = _rim_median(x)  # (1, band, 1, 1)
    with torch.inference_mode():
        whole = member_log_odds(network, card, x)
        fall = torch.cat(
            [
                whole - member_log_odds(network, card, _covered(x, some, sky))
                for some in covers.split(BATCH_SIZE)
            ]
        )
    drop: Floats = ((fall[:, None, None] * covers).sum(dim=0) / covers.sum(dim=0)).numpy()
    return drop


def _steps(last: int, step: int) -> list[int]:
    """Return places from 0 to a last one, at most a step apart and alike from both ends."""
    n = -(-last // step) + 1
    n += n % 2  # an odd number of places may have none in the middle
    half = [k * last // (n - 1) for k in range(n // 2)]
    return [*half, *(last - place for place in reversed(half))]


def _covered(x: torch.Tensor, covers: torch.Tensor, sky: torch.Tensor) -> torch.Tensor:
    """Return a stamp under each of some covers ``(n, y, x)``; no validity changes."""
    bands = torch.where((covers[:, None] > 0) & (x[:, -1:] > 0), sky, x[:, :-1])
    return torch.cat([bands, x[:, -1:].expand(len(covers), -1, -1, -1)], dim=1)


def _rim_median(x: torch.Tensor) -> torch.Tensor:
    """Return the median of each band on the valid outer tenth of a stamp, ``(1, band, 1, 1)``."""
    size = x.shape[2]
    width = max(1, size // 10)
    rim = torch.ones(size, size, dtype=torch.bool)
    rim[width : size - width, width : size - width] = False
    known = rim & (x[0, -1] > 0)
    if not known.any():
        known = x[0, -1] > 0
    return x[0, :-1, known].median(dim=1).values.reshape(1, -1, 1, 1)
