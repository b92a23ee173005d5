"""Novelty as a training leaves it: what it fires on, on a small field and on real sky."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from sklearn.metrics import roc_auc_score

from survey_classifier.geometry import Box
from survey_classifier.model.checkpoint import load_checkpoint, load_network
from survey_classifier.model.inputs import cut_size_px
from survey_classifier.model.scorer import TorchScorer
from survey_classifier.model.shipped import resolve_checkpoint
from survey_classifier.mosaic.ingest import ingest_mosaics
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.run.config import read_run
from survey_classifier.stamps import Stamps, cut_stamps
from survey_classifier.training.dataset import load_training_set
from survey_classifier.training.fit import train
from survey_classifier.training.recipes import read_recipe
from tests.conftest import REPOSITORY
from tests.labeled_field import N_OBJECT, RECIPE, make_field

N_TYPICAL, N_ODD = 200, 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_field(tmp_path_factory.mktemp("field"))


@pytest.mark.parametrize("kind", ["strips", "random"])
def test_a_training_leaves_what_tells_novelty(folder: Path, tmp_path: Path, kind: str) -> None:
    recipe = RECIPE.format(out=tmp_path / "out", epochs=6)
    if kind == "random":
        recipe = recipe.replace("n_folds = 2", 'kind = "random"')
    path = folder / f"{kind}.toml"
    path.write_text(recipe)
    network, card, novelty = load_checkpoint(train(path))
    assert novelty is not None
    assert card.novelty is not None
    n = N_OBJECT + 4
    if kind == "strips":
        assert (card.novelty.n_fitted, card.novelty.n_unseen) == (n, n)
    else:
        assert card.novelty.n_fitted + card.novelty.n_unseen < n
    read = read_recipe(path)
    stamps = load_training_set(read, read.draft_card()).blocks[0]
    scorer = TorchScorer(network, card, torch.device("cpu"), novelty=novelty)
    typical = scorer.score(stamps).novelty
    assert 0 <= np.median(typical) < 1
    stamps.flux[:] = np.random.default_rng(0).normal(0, 400, stamps.flux.shape)
    assert scorer.score(stamps).novelty.min() > np.quantile(typical, 0.9)


@pytest.fixture(scope="module")
def west(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Mosaic:
    """The real mosaic."""
    store = tmp_path_factory.mktemp("west") / "west.zarr"
    patch = pytest.MonkeyPatch()
    patch.setenv("SURVEY_CLASSIFIER_DATA", str(real_data))
    config = read_run(REPOSITORY / "deploy" / "runs" / "perseus-west.toml")
    settings = config.mosaic.model_copy(update={"store": str(store)})
    ingest_mosaics(settings, config.folder)
    patch.undo()
    return Mosaic.open(store)


@pytest.fixture(scope="module")
def shipped() -> Path:
    return resolve_checkpoint("perseus", Path())


def cut(west: Mosaic, shipped: Path, x: NDArray[np.float64], y: NDArray[np.float64]) -> Stamps:
    _, card = load_network(shipped)
    return cut_stamps(west, x, y, cut_size_px(card, west.scale_arcsec), card.bands)


def red_places(west: Mosaic, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return pixels ``(n, 2)`` (y, x) of the mosaic where the sky itself is red over 10 arcsec."""
    flux = west.read(Box(0, west.shape[0], 0, west.shape[1]), ("i", "r", "g")).flux
    sky = [uniform_filter(np.nan_to_num(band), 25) for band in flux]
    covered = uniform_filter(np.isfinite(flux).all(axis=0).astype(np.float32), 53) > 0.99
    places = np.argwhere(covered & (sky[0] - np.maximum(sky[1], sky[2]) > 12))
    assert len(places) > 10_000
    return places[rng.choice(len(places), N_ODD, replace=False)]


def with_trail(flux: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return display stamps, each crossed by a white line within 4 arcsec of its middle."""
    size = flux.shape[-1]
    y, x = np.mgrid[:size, :size] - size // 2
    out = flux.copy()
    for stamp in out:
        angle, off, width = rng.uniform(0, np.pi), rng.uniform(-10, 10), rng.uniform(0.8, 2)
        away = x * np.sin(angle) - y * np.cos(angle) - off
        line = rng.uniform(150, 255) * np.exp(-((away / width) ** 2))
        np.maximum(stamp, line.astype(np.float32), out=stamp)
    return out


def with_spikes(flux: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return display stamps, each with a saturated star and its spikes."""
    size = flux.shape[-1]
    out = flux.copy()
    for stamp in out:
        off, width = rng.uniform(-8, 8), rng.uniform(1, 2.5)
        y, x = np.mgrid[:size, :size] - size // 2 - off
        star = np.maximum.reduce([np.exp(-((k / width) ** 2)) for k in (x, y)])
        star = np.maximum(star, np.exp(-(x**2 + y**2) / 60))
        np.maximum(stamp, (255 * star).astype(np.float32), out=stamp)
    return out


def test_it_fires_on_artefacts_bad_sky_and_wrong_bands_of_real_sky(
    west: Mosaic, shipped: Path, real_data: Path
) -> None:
    """The shipped network's own; it was fitted to these stamps, so typical ones are held out only
    in what its shares were calibrated on.
    """
    rng = np.random.default_rng(0)
    pcc = pd.read_csv(real_data / "perseus" / "pcc_dev.csv").sample(N_TYPICAL, random_state=0)
    x, y = west.world_to_pixel(pcc.ra.to_numpy(), pcc.dec.to_numpy())
    stamps = cut(west, shipped, x, y)
    network, card, novelty = load_checkpoint(shipped)
    scorer = TorchScorer(network, card, torch.device("cpu"), novelty=novelty)
    typical = scorer.score(stamps).novelty
    assert np.median(typical) == pytest.approx(-np.log10(0.5), abs=0.15)
    assert (typical > 2).mean() < 0.03

    base = stamps.take(slice(0, N_ODD))
    red = red_places(west, rng).astype(np.float64)
    odd = {
        "trail": with_trail(base.flux, rng),
        "spikes": with_spikes(base.flux, rng),
        "noise": rng.uniform(0, 255, base.flux.shape).astype(np.float32),
        "flat": base.flux * 0 + rng.uniform(0, 255, (N_ODD, 1, 1, 1)).astype(np.float32),
        "bands gri": base.flux[:, ::-1].copy(),
        "bands rgi": base.flux[:, [1, 2, 0]],
        "red sky": cut(west, shipped, red[:, 1], red[:, 0]).flux,
    }
    area = {}
    for name, flux in odd.items():
        found = scorer.score(replace(base, flux=flux)).novelty
        both = np.concatenate([typical, found])
        area[name] = roc_auc_score(np.arange(len(both)) >= len(typical), both)
    assert min(area["spikes"], area["noise"]) > 0.99
    assert min(area["trail"], area["flat"]) > 0.95
    assert min(area["bands gri"], area["bands rgi"], area["red sky"]) > 0.8
