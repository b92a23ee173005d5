"""Novelty: its arithmetic against scipy's, its shares against counting, and what it fires on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import ledoit_wolf

from survey_classifier.errors import CheckpointError
from survey_classifier.model.card import NoveltyFit
from survey_classifier.model.checkpoint import load_checkpoint, load_network, save_checkpoint
from survey_classifier.model.novelty import Novelty, Tail, make_novelty
from survey_classifier.model.scorer import TorchScorer
from survey_classifier.training.novelty import fit_distance
from tests.test_model_scorer import CPU, make_card, make_network, make_stamps

N_EARLY, N_LATE = 5, 40
Floats = NDArray[np.float64]


def draw(n: int, n_feature: int, seed: int) -> NDArray[np.float32]:
    """Return features that are correlated, and of unequal size."""
    mixing = np.random.default_rng(n_feature).normal(size=(n_feature, n_feature))
    shape = np.random.default_rng(seed).normal(size=(n, n_feature))
    return (shape @ mixing + 3).astype(np.float32)


def fitted(n: int = 4000) -> Novelty:
    """Return a novelty whose unseen objects are of the same kind as the fitted ones."""
    early, late = fit_distance(draw(n, N_EARLY, 0)), fit_distance(draw(n, N_LATE, 1))
    pairs = zip((early, late), (draw(n, N_EARLY, 2), draw(n, N_LATE, 3)), strict=True)
    unseen = [distance(torch.from_numpy(features)).numpy() for distance, features in pairs]
    return make_novelty(early, late, np.stack(unseen, axis=1))


def level(novelty: Novelty, early: NDArray[np.float32], late: NDArray[np.float32]) -> Floats:
    found: Floats = novelty(torch.from_numpy(early), torch.from_numpy(late)).numpy()
    return found


@pytest.mark.parametrize("n", [400, 25])  # 25: fewer objects than features
def test_distances_are_scipys(n: int) -> None:
    features, others = draw(n, N_LATE, 0), draw(7, N_LATE, 1)
    covariance, _ = ledoit_wolf(features.astype(np.float64))
    inverse, mean = np.linalg.inv(covariance), features.mean(axis=0)
    want = [mahalanobis(row, mean, inverse) ** 2 / N_LATE for row in others]
    got = fit_distance(features)(torch.from_numpy(others)).numpy()
    np.testing.assert_allclose(got, want, rtol=2e-3)


def test_shares_are_those_that_one_counts() -> None:
    values = np.random.default_rng(0).gamma(3.0, 2.0, 5000)
    asked = np.quantile(values, [0.01, 0.3, 0.5, 0.9, 0.99, 0.999])
    n_above = np.array([(values > value).sum() for value in asked])
    got = Tail.of(values)(torch.from_numpy(asked)).numpy()
    # The knots lie 0.03 apart, and in the tail a share is known to an object more or less.
    assert (np.abs(got + np.log10((n_above + 0.5) / 5001)) < 0.01 + 0.3 / n_above).all()


@pytest.mark.parametrize("n", [2, 10, 3000])
def test_a_tail_rises_from_zero_without_end(n: int) -> None:
    values = np.random.default_rng(1).exponential(1.0, n)
    asked = np.sort(np.concatenate([values, np.linspace(-1, 40, 500)]))
    got = Tail.of(values)(torch.from_numpy(asked)).numpy()
    assert got.min() == 0.0
    assert (np.diff(got) >= 0).all()
    beyond = got[asked > values.max()]
    assert (np.diff(beyond) > 0).all()
    assert beyond[0] >= np.log10(n + 1) - 1e-5


def test_objects_of_the_same_kind_have_the_shares_that_novelty_says() -> None:
    found = level(fitted(), draw(6000, N_EARLY, 8), draw(6000, N_LATE, 9))
    for share in (0.5, 0.1, 0.01):
        expected = np.sqrt(share * (1 - share) * (1 / 6000 + 2 / 4000))
        assert (found > -np.log10(share)).mean() == pytest.approx(share, abs=4 * expected)


def test_oddness_of_either_kind_counts() -> None:
    novelty = fitted()
    early, late = draw(50, N_EARLY, 8), draw(50, N_LATE, 9)
    far = (early - 3) * 8 + 3, (late - 3) * 3 + 3
    assert np.median(level(novelty, early, late)) < 1
    assert np.median(level(novelty, far[0], late)) > 3
    assert np.median(level(novelty, early, far[1])) > 3
    assert (level(novelty, *far) >= level(novelty, early, far[1]) - 1e-9).all()


def test_what_is_not_known_is_nan_and_disturbs_nobody() -> None:
    novelty = fitted(300)
    early, late = draw(4, N_EARLY, 8), draw(4, N_LATE, 9)
    want = level(novelty, early, late)
    early[1, 2], late[2, 0] = np.nan, np.inf
    got = level(novelty, early, late)
    assert np.isnan(got[[1, 2]]).all()
    np.testing.assert_array_equal(got[[0, 3]], want[[0, 3]])


def test_features_that_never_fire_are_no_trouble() -> None:
    features = draw(50, N_LATE, 0)
    features[:, 3] = 0
    silent = fit_distance(features)
    assert silent(torch.from_numpy(features)).isfinite().all()
    nothing = fit_distance(np.zeros((20, 4), dtype=np.float32))
    assert nothing(torch.zeros(3, 4)).tolist() == [0, 0, 0]
    assert (nothing(torch.ones(3, 4)) > 1e6).all()


def novelty_of(network_seed: int = 0) -> Novelty:
    """Return the novelty of a tiny network against typical stamps."""
    scorer = TorchScorer(make_network(network_seed), make_card(), CPU)
    seen, unseen = scorer.look(make_stamps(60, 1)), scorer.look(make_stamps(60, 2))
    early, late = fit_distance(seen.early), fit_distance(seen.late)
    pairs = ((early, unseen.early), (late, unseen.late))
    far = [distance(torch.from_numpy(features)).numpy() for distance, features in pairs]
    return make_novelty(early, late, np.stack(far, axis=1))


def test_a_scorer_tells_novelty_in_the_same_pass() -> None:
    novelty, stamps = novelty_of(), make_stamps(9, 3)
    scorer = TorchScorer(make_network(), make_card(), CPU, 4, novelty)
    scores, seen = scorer.score(stamps), scorer.look(stamps)
    want = level(novelty, seen.early, seen.late)
    np.testing.assert_allclose(scores.novelty, want, rtol=1e-5, atol=1e-5)
    without = TorchScorer(make_network(), make_card(), CPU).score(stamps)
    assert np.isnan(without.novelty).all()
    np.testing.assert_array_equal(without.p_image, scores.p_image)
    one = scorer.score(stamps.take(slice(5, 6)))
    np.testing.assert_allclose(one.novelty, scores.novelty[5:6], atol=1e-3)


def test_a_stamp_without_a_valid_pixel_has_no_novelty() -> None:
    stamps = make_stamps(3, 3)
    stamps.flux[1] = np.nan
    scores = TorchScorer(make_network(), make_card(), CPU, 4, novelty_of()).score(stamps)
    assert np.isnan(scores.novelty).tolist() == [False, True, False]


def test_blank_stamps_are_novel() -> None:
    stamps = make_stamps(60, 4)
    novelty = novelty_of()
    scorer = TorchScorer(make_network(), make_card(), CPU, novelty=novelty)
    typical = scorer.score(stamps).novelty
    stamps.flux[:] = stamps.flux.mean(axis=(2, 3), keepdims=True)
    assert np.median(scorer.score(stamps).novelty) > np.quantile(typical, 0.9)


def test_a_checkpoint_carries_what_novelty_needs(tmp_path: Path) -> None:
    novelty, path = novelty_of(), tmp_path / "tiny.safetensors"
    card = make_card(novelty={"n_fitted": 60, "n_unseen": 60})
    save_checkpoint(path, make_network(), card, novelty)
    network, loaded_card, loaded = load_checkpoint(path)
    assert loaded is not None
    assert loaded_card.novelty == NoveltyFit(n_fitted=60, n_unseen=60)
    for name, tensor in novelty.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert not any("novelty" in name for name in network.state_dict())
    assert load_network(path)[1] == card
    stamps = make_stamps(4)
    want = TorchScorer(make_network(), card, CPU, novelty=novelty).score(stamps).novelty
    np.testing.assert_array_equal(TorchScorer.load(path, "cpu").score(stamps).novelty, want)


def test_a_checkpoint_of_before_has_none(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    save_checkpoint(path, make_network(), make_card())
    assert load_checkpoint(path)[2] is None
    assert np.isnan(TorchScorer.load(path, "cpu").score(make_stamps(2)).novelty).all()


def test_a_card_and_tensors_that_disagree_are_refused(tmp_path: Path) -> None:
    path, network = tmp_path / "odd.safetensors", make_network()
    card = make_card(novelty={"n_fitted": 60, "n_unseen": 60})
    with pytest.raises(CheckpointError, match="missing or too many, such as 'novelty"):
        save_checkpoint(path, network, card)
    with pytest.raises(CheckpointError, match="missing or too many, such as 'novelty"):
        save_checkpoint(path, network, make_card(), novelty_of())
    with pytest.raises(CheckpointError, match=r"'novelty\.late\.mean' is torch\.float32\[7\]"):
        save_checkpoint(path, network, card, Novelty(4, 7))
    save_checkpoint(path, network, card, novelty_of())
    tensors = load_file(path)
    tensors["novelty.tail.value"][3] = np.nan
    metadata = {"format": "survey_classifier/1", "card": card.model_dump_json()}
    save_file(tensors, path, metadata)
    with pytest.raises(CheckpointError, match=r"'novelty\.tail\.value' that are not finite"):
        load_checkpoint(path)
