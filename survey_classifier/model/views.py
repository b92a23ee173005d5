"""The views that a score is averaged over: orientations of the square.

Owns their order, and the way back. Does not own how many a network is seen with (``card``).
"""

from collections.abc import Iterator

import torch

__all__ = ["oriented", "turned_back"]


QUARTER_TURNS = (0, 2, 1, 3)


def oriented(x: torch.Tensor, n_views: int) -> Iterator[torch.Tensor]:
    """Yield the first ``n_views`` orientations of the square, ``(n, channel, y, x)`` each.

    In the order: as it is, half a turn, quarter turns, then the same mirrored; so that two views
    are the pair that differs most, four are the rotations and eight are all.
    """
    for view in range(n_views):
        turned = torch.rot90(x, QUARTER_TURNS[view % 4], dims=(2, 3))
        yield turned if view < 4 else turned.flip(3)


def turned_back(maps: torch.Tensor, view: int) -> torch.Tensor:
    """Return maps ``(n, y, x)`` of the view of that number as they lie on the stamp."""
    upright = maps if view < 4 else maps.flip(2)
    return torch.rot90(upright, -QUARTER_TURNS[view % 4], dims=(1, 2))
