"""Where some stamps are too small to be turned whole, views don't tell which."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from survey_classifier.images.cut import stamps_from_images
from survey_classifier.images.decode import Planes
from survey_classifier.training.blocks import frame_arcsec
from survey_classifier.training.dataset import TrainingSet, load_training_set
from survey_classifier.training.fit_settings import FitSettings
from survey_classifier.training.labels import Labels
from survey_classifier.training.recipes import read_recipe
from survey_classifier.training.samples import Samples, random_views
from survey_classifier.training.team import Team
from tests.conftest import REPOSITORY

SCALE_ARCSEC, SIZE_PX, SMALL_PX = 0.4, 77, 53
N = 200
SETTINGS = FitSettings(jitter_px=0.0, flux_scatter=0.0)


@pytest.fixture(scope="module")
def card():
    return read_recipe(REPOSITORY / "deploy" / "recipes" / "perseus-sdss.toml").draft_card()


def block(side_px, value):
    """Return N stamps of the same size, made of images of a side; brighter to the right."""
    ramp = np.broadcast_to(np.linspace(0, 1, side_px, dtype=np.float32), (3, side_px, side_px))
    middle = (side_px - 1) / 2
    images = (Planes(value + ramp, SCALE_ARCSEC, (middle, middle)) for _ in range(N))
    return stamps_from_images(images, N, ("i", "r", "g"), SCALE_ARCSEC, SIZE_PX)


def training_set(frame_arcsec):
    """Return whole stamps, then small ones."""
    n = 2 * N
    labels = Labels(
        np.array([str(row) for row in range(n)], dtype=object),
        np.zeros(n),
        np.zeros(n),
        np.arange(n) % 2,
        np.full(n, "", dtype=object),
        np.ones(n),
        np.zeros(n, dtype=bool),
    )
    blocks = (block(SIZE_PX + 10, 100), block(SMALL_PX, 100))
    return TrainingSet(labels, blocks, (), ("nonmember", "member"), frame_arcsec)


def views(data, card):
    """Return the network's input of all objects, and which are of the small stamps."""
    team, rng = Team(torch.device("cpu")), np.random.default_rng(1)
    x, _ = random_views(data, Samples.of(np.arange(2 * N)), card, SETTINGS, rng, team)
    return x.numpy(), np.arange(2 * N) >= N


def test_the_frame_is_what_a_small_stamp_shows():
    assert frame_arcsec(block(SMALL_PX, 100)) == pytest.approx(SMALL_PX * SCALE_ARCSEC)
    off = stamps_from_images(
        [Planes(np.ones((3, 53, 53), np.float32), 0.4, (28.0, 25.0))],
        1,
        ("i", "r", "g"),
        0.4,
        SIZE_PX,
    )
    assert frame_arcsec(off) == pytest.approx(2 * (52 - 28 + 0.5) * 0.4)


def test_missing_corners_say_nothing(card):
    x, is_small = views(training_set(SMALL_PX * SCALE_ARCSEC), card)
    missing = 1 - x[:, -1].mean(axis=(1, 2))
    for kind in (is_small, ~is_small):
        assert (missing[kind] == 0).mean() == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / N))
        assert missing[kind].max() > 0.1
    assert stats.ks_2samp(missing[is_small], missing[~is_small]).pvalue > 0.01


def test_without_a_frame_they_would(card):
    x, is_small = views(training_set(None), card)
    missing = 1 - x[:, -1].mean(axis=(1, 2))
    assert (missing[~is_small] == 0).all()
    assert (missing[is_small] > 0).mean() > 0.9


def test_whole_views_are_turned_by_quarters(card):
    """A ramp along an axis of the stamp is one along an axis of the view, and not of both.

    A few of those at any angle are whole, too: there is a little more of a stamp than is shown.
    """
    x, _ = views(training_set(SMALL_PX * SCALE_ARCSEC), card)
    whole = x[x[:, -1].all(axis=(1, 2))][:, 0]
    along_x = np.abs(np.diff(whole, axis=2)).mean(axis=(1, 2))
    along_y = np.abs(np.diff(whole, axis=1)).mean(axis=(1, 2))
    slope = np.maximum(along_x, along_y)
    assert (np.minimum(along_x, along_y) < 1e-3 * slope).mean() > 0.9
    turned = (along_x > along_y).mean()
    assert 0.4 < turned < 0.6


def test_thumbnails_are_whole_when_they_are_upright(real_data: Path, monkeypatch):
    """Real ones, of which the source is 0.3 arcsec off the middle."""
    monkeypatch.setenv("SURVEY_CLASSIFIER_DATA", str(real_data))
    recipe = read_recipe(REPOSITORY / "deploy" / "recipes" / "perseus-sdss.toml")
    thumbs = recipe.data[1]
    alone = recipe.model_copy(update={"data": (thumbs,)})
    alone._folder = recipe._folder
    card = recipe.draft_card()
    data = load_training_set(alone, card)
    assert card.stamp_arcsec < data.frame_arcsec < math.sqrt(2) * card.stamp_arcsec
    team, rng = Team(torch.device("cpu")), np.random.default_rng(0)
    x, _ = random_views(data, Samples.of(data.for_training), card, recipe.fit, rng, team)
    whole = x[:, -1].numpy().all(axis=(1, 2)).mean()
    assert whole == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / len(x)))
