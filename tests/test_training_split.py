"""Folds: nothing that is one object is on both sides."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st

from survey_classifier.errors import SourcesError
from survey_classifier.training.split import strip_folds


def field(seed: int, n: int, ra0: float = 49.5) -> tuple[np.ndarray, np.ndarray]:
    """Return positions a third of which have a neighbor within 3 arcsec."""
    rng = np.random.default_rng(seed)
    ra, dec = rng.uniform(-0.2, 0.2, n), rng.uniform(41.3, 41.6, n)
    pairs = rng.integers(0, n, n // 3)
    shift = rng.uniform(-1.5, 1.5, (2, len(pairs))) / 3600
    ra, dec = np.append(ra, ra[pairs] + shift[0]), np.append(dec, dec[pairs] + shift[1])
    return np.mod(ra0 + ra, 360.0), dec


@given(
    seed=st.integers(0, 999),
    n=st.integers(40, 200),
    n_folds=st.integers(2, 6),
    axis=st.sampled_from(["ra", "dec"]),
    ra0=st.sampled_from([49.5, 0.0, 359.9]),
)
def test_one_object_is_in_one_fold(seed: int, n: int, n_folds: int, axis: str, ra0: float) -> None:
    ra, dec = field(seed, n, ra0)
    fold = strip_folds(ra, dec, axis, n_folds)
    sky = SkyCoord(ra * u.deg, dec * u.deg)
    first, second, *_ = sky.search_around_sky(sky, 1.999 * u.arcsec)
    assert (fold[first] == fold[second]).all()
    assert set(fold.tolist()) == set(range(n_folds))


@pytest.mark.parametrize("axis", ["ra", "dec"])
def test_folds_are_strips_of_equal_counts(axis: str) -> None:
    ra, dec = field(3, 400, ra0=0.0)
    fold = strip_folds(ra, dec, axis, 4)
    counts = np.bincount(fold)
    assert counts.max() - counts.min() <= 8
    along = np.where(ra > 180, ra - 360, ra) if axis == "ra" else dec
    for number in range(3):
        highest, lowest = along[fold == number].max(), along[fold == number + 1].min()
        assert lowest > highest - 5 / 3600  # pairs may reach across the cut, by their size


def test_the_order_of_objects_does_not_matter() -> None:
    ra, dec = field(5, 120)
    order = np.random.default_rng(0).permutation(len(ra))
    np.testing.assert_array_equal(
        strip_folds(ra[order], dec[order], "ra", 3), strip_folds(ra, dec, "ra", 3)[order]
    )


def test_too_few_objects_are_refused() -> None:
    ra, dec = np.full(5, 49.5), np.full(5, 41.5)
    with pytest.raises(SourcesError, match="1 separate objects are too few for 2 folds"):
        strip_folds(ra, dec, "ra", 2)
