"""The pixel convention, boxes and tile grids, against counting by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from survey_classifier.geometry import (
    Box,
    TileGrid,
    level_position,
    nearest_pixel,
    overlap,
    stamp_start,
)

boxes = st.builds(
    lambda y, x, h, w: Box(y, y + h, x, x + w),
    *(st.integers(-30, 30),) * 2,
    *(st.integers(1, 40),) * 2,
)


@pytest.mark.parametrize(
    ("position", "pixel"),
    [(-0.6, -1), (-0.5, 0), (0.0, 0), (0.49, 0), (0.5, 1), (3.7, 4), (99.5, 100)],
)
def test_worked_pixels_of_the_docstring(position, pixel):
    assert nearest_pixel(position) == pixel


def test_largest_float_below_a_half_stays_in_its_pixel():
    assert nearest_pixel(np.nextafter(0.5, 0.0)) == 0


@given(st.floats(-1e6, 1e6))
def test_offset_is_within_half_a_pixel(position):
    assert -0.5 <= position - nearest_pixel(position) < 0.5


@pytest.mark.parametrize(
    ("x", "size", "start", "stop"), [(3.7, 5, 2, 7), (3.7, 4, 2, 6), (0.2, 5, -2, 3)]
)
def test_worked_stamps_of_the_docstring(x, size, start, stop):
    assert (stamp_start(x, size), stamp_start(x, size) + size) == (start, stop)


@given(boxes, boxes)
def test_intersection_holds_the_shared_pixels(one, other):
    canvas = np.zeros((120, 120), dtype=int)
    for box in (one, other):
        canvas[box.shifted(40, 40).slices] += 1
    shared = one.intersection(other)
    assert (canvas == 2).sum() == (0 if shared is None else shared.area)


@given(boxes, st.integers(1, 20), st.integers(1, 20))
def test_overlap_slices_point_at_the_same_pixels(box, ny, nx):
    array = np.arange(ny * nx).reshape(ny, nx)
    twin = np.full(box.shape, -1)
    for y in range(box.y0, box.y1):
        for x in range(box.x0, box.x1):
            if 0 <= y < ny and 0 <= x < nx:
                twin[y - box.y0, x - box.x0] = array[y, x]
    filled = np.full(box.shape, -1)
    slices = overlap(box, (ny, nx))
    if slices is not None:
        filled[slices[1]] = array[slices[0]]
    np.testing.assert_array_equal(filled, twin)


def test_empty_box_is_refused():
    with pytest.raises(ValueError, match="y0 < y1"):
        Box(3, 3, 0, 1)


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 20))
def test_tiles_partition_the_grid(ny, nx, tile_px):
    grid = TileGrid((ny, nx), tile_px)
    count = np.zeros((ny, nx), dtype=int)
    for tile in grid.tiles():
        count[tile.core.slices] += 1
    assert (count == 1).all()


@given(
    st.integers(1, 50),
    st.integers(1, 50),
    st.integers(1, 20),
    st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=1),
)
def test_every_position_has_an_owner_and_the_core_holds_those_inside(ny, nx, tile_px, positions):
    grid = TileGrid((ny, nx), tile_px)
    x, y = np.array(positions).T
    rows, cols = grid.owner(x, y)
    for xi, yi, row, col in zip(x, y, rows, cols, strict=True):
        core = grid.tile(int(row), int(col)).core
        px, py = int(nearest_pixel(xi)), int(nearest_pixel(yi))
        if 0 <= px < nx and 0 <= py < ny:
            assert core.x0 <= px < core.x1
            assert core.y0 <= py < core.y1


def test_positions_that_are_nowhere_still_have_an_owner():
    rows, cols = TileGrid((10, 10), 5).owner([np.nan, np.inf, -1e300], [np.nan, 3.0, 7.0])
    assert list(zip(rows, cols, strict=True)) == [(0, 0), (0, 0), (1, 0)]


def test_level_position_is_the_mean_of_the_binned_pixels():
    binned = np.arange(16.0).reshape(4, 4).mean(axis=1)
    np.testing.assert_allclose(level_position(binned, 2), np.arange(4.0))


@given(boxes, st.integers(1, 40))
def test_an_aligned_box_is_the_smallest_of_whole_steps_around_it(box, step):
    around = box.aligned(step)
    assert all(edge % step == 0 for edge in (around.y0, around.y1, around.x0, around.x1))
    assert around.intersection(box) == box
    assert max(box.y0 - around.y0, around.y1 - box.y1) < step
    assert max(box.x0 - around.x0, around.x1 - box.x1) < step
