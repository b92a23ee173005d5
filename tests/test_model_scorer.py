"""The scorer against a naive loop, and what it does where there is nothing to score."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from survey_classifier.errors import CheckpointError, ConfigError, RunError
from survey_classifier.model.card import ModelCard
from survey_classifier.model.checkpoint import save_checkpoint
from survey_classifier.model.devices import choose_device
from survey_classifier.model.inputs import to_network_input
from survey_classifier.model.resnet import ResNet
from survey_classifier.model.scorer import Scorer, Scores, TorchScorer
from survey_classifier.model.views import oriented
from survey_classifier.stamps import MASK_BITS, Stamps

CPU = torch.device("cpu")


def make_card(**changes: Any) -> ModelCard:
    fields = {
        "name": "tiny",
        "description": "nothing",
        "architecture": "resnet15",
        "width": 4,
        "classes": ["star", "member", "background"],
        "bands": ["i", "r", "g"],
        "unit": "nJy",
        "stamp_arcsec": 16.0,
        "stamp_px": 40,
        "stretch": {band: {"softening": 50.0, "maximum": 900.0} for band in "irg"},
        "n_views": 8,
        "temperature": 1.5,
        "prevalence": {"star": 0.5, "member": 0.2, "background": 0.3},
        "label_mapping": {},
        "data": [],
        "metrics": {},
        "code_version": "0",
    }
    return ModelCard.model_validate_json(json.dumps(fields | changes))


def make_network(seed: int = 0) -> ResNet:
    """Return a network with norms, features and a head that are not those of the start."""
    torch.manual_seed(seed)
    network = ResNet("resnet15", 4, 3, 4)
    for name, parameter in network.named_parameters():
        if "norm.weight" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    for _ in range(20):
        network(torch.rand(16, 4, 40, 40))
    network.head.weight.data *= 8
    return network.eval()


def make_stamps(n: int, seed: int = 0, scale_arcsec: float = 0.25) -> Stamps:
    rng = np.random.default_rng(seed)
    size = 67
    flux = rng.gamma(1.0, 200.0 * scale_arcsec**2, (n, 3, size, size)).astype(np.float32)
    flux *= rng.uniform(0.1, 10, (n, 3, 1, 1)).astype(np.float32)
    return Stamps(
        bands=("i", "r", "g"),
        flux=flux,
        offset_px=rng.uniform(-0.5, 0.5, (n, 2)).astype(np.float32),
        valid_fraction=np.ones(n, dtype=np.float32),
        center_mask=np.zeros(n, dtype=np.uint8),
        sticks_out=np.zeros(n, dtype=np.bool_),
        mask_fraction=np.zeros((n, len(MASK_BITS)), dtype=np.float32),
        scale_arcsec=scale_arcsec,
    )


def scorer_of(card: ModelCard, batch_size: int = 256) -> TorchScorer:
    return TorchScorer(make_network(), card, CPU, batch_size)


@pytest.mark.parametrize("n_views", [1, 2, 4, 8])
def test_scores_are_those_of_a_naive_loop(n_views: int) -> None:
    card, network, stamps = make_card(n_views=n_views), make_network(), make_stamps(5)
    scores = scorer_of(card).score(stamps)
    for n in range(5):
        x = to_network_input(
            torch.from_numpy(stamps.flux[n : n + 1]),
            torch.from_numpy(stamps.offset_px[n : n + 1]),
            0.25,
            card,
        )
        views = [x, x.rot90(2, (2, 3)), x.rot90(1, (2, 3)), x.rot90(3, (2, 3))]
        views = (views + [view.flip(3) for view in views])[:n_views]
        with torch.no_grad():
            logits = torch.cat([network(view) for view in views]).double()
        mean = torch.softmax(logits.mean(0) / 1.5, dim=0).numpy()
        np.testing.assert_allclose(scores.probability[n], mean, atol=2e-5)
        spread = torch.softmax(logits / 1.5, dim=1)[:, 1].numpy().std()
        if n_views == 1:
            assert np.isnan(scores.p_image_err[n])
        else:
            assert scores.p_image_err[n] == pytest.approx(spread, abs=2e-5)
    np.testing.assert_array_equal(scores.p_image, scores.probability[:, 1])
    np.testing.assert_allclose(scores.probability.sum(axis=1), 1, atol=1e-6)
    assert np.ptp(scores.p_image) > 0.01  # the stamps are told apart at all


def test_scores_do_not_depend_on_the_batch() -> None:
    stamps, card = make_stamps(23), make_card()
    whole = scorer_of(card).score(stamps)
    for batch_size in (1, 7, 22):
        parts = scorer_of(card, batch_size).score(stamps)
        np.testing.assert_allclose(parts.probability, whole.probability, atol=1e-6)
        np.testing.assert_allclose(parts.p_image_err, whole.p_image_err, atol=1e-6)
    order = np.random.default_rng(1).permutation(23)
    shuffled = scorer_of(card, 5).score(stamps.take(order))
    np.testing.assert_allclose(shuffled.probability, whole.probability[order], atol=1e-6)


def test_bands_are_taken_by_name() -> None:
    stamps, card = make_stamps(4), make_card()
    want = scorer_of(card).score(stamps)
    other = Stamps(
        ("g", "i", "r"),
        stamps.flux[:, [2, 0, 1]],
        stamps.offset_px,
        stamps.valid_fraction,
        stamps.center_mask,
        stamps.sticks_out,
        stamps.mask_fraction,
        stamps.scale_arcsec,
    )
    np.testing.assert_array_equal(scorer_of(card).score(other).probability, want.probability)


@pytest.mark.parametrize("bands", [("i", "r"), ("i", "r", "z"), ("i", "r", "r")])
def test_other_bands_are_refused(bands: tuple[str, ...]) -> None:
    stamps = make_stamps(1)
    other = Stamps(
        bands,
        stamps.flux[:, : len(bands)],
        stamps.offset_px,
        stamps.valid_fraction,
        stamps.center_mask,
        stamps.sticks_out,
        stamps.mask_fraction,
        stamps.scale_arcsec,
    )
    with pytest.raises(CheckpointError, match=r"tiny needs exactly i, r, g"):
        scorer_of(make_card()).score(other)


def test_coarser_stamps_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"0\.5 arcsec/px"):
        scorer_of(make_card()).score(make_stamps(1, scale_arcsec=0.5))


def test_eight_views_make_the_score_the_same_for_a_turned_sky() -> None:
    stamps, scorer = make_stamps(4), scorer_of(make_card())
    turned = Stamps(
        stamps.bands,
        np.ascontiguousarray(np.rot90(stamps.flux, 1, (2, 3))),
        # np.rot90 takes (x, y) to (y, -x) about the middle pixel.
        np.stack([stamps.offset_px[:, 1], -stamps.offset_px[:, 0]], axis=1),
        stamps.valid_fraction,
        stamps.center_mask,
        stamps.sticks_out,
        stamps.mask_fraction,
        stamps.scale_arcsec,
    )
    np.testing.assert_allclose(
        scorer.score(turned).probability, scorer.score(stamps).probability, atol=1e-4
    )


def test_views_are_distinct() -> None:
    x = torch.rand(1, 1, 3, 3)
    views = [view.flatten().tolist() for view in oriented(x, 8)]
    assert len({tuple(view) for view in views}) == 8
    assert views[0] == x.flatten().tolist()


def test_a_stamp_without_a_pixel_is_nan_and_the_others_are_not() -> None:
    stamps, card = make_stamps(4), make_card()
    want = scorer_of(card).score(stamps)
    stamps.flux[2] = np.nan
    stamps.valid_fraction[2] = 0
    scores = scorer_of(card, 2).score(stamps)
    assert np.isnan(scores.probability[2]).all()
    assert np.isnan([scores.p_image[2], scores.p_image_err[2]]).all()
    rest = [0, 1, 3]
    np.testing.assert_allclose(scores.probability[rest], want.probability[rest], atol=1e-6)


@pytest.mark.parametrize("hidden", ["around", "a band each"])
def test_a_stamp_of_which_the_network_sees_nothing_is_nan(hidden: str) -> None:
    """Valid pixels that do not reach the network's input are no evidence."""
    stamps, card = make_stamps(4), make_card()
    want = scorer_of(card).score(stamps)
    if hidden == "around":
        stamps.flux[2, :, 1:-1, 1:-1] = np.nan  # 67 px of 0.25 arcsec; the input has 16 arcsec
        stamps.valid_fraction[2] = 264 / 67**2
    else:
        stamps.flux[2, 0, :40] = np.nan  # none is valid in both bands
        stamps.flux[2, 1, 30:] = np.nan
        stamps.valid_fraction[2] = 1e-3  # whatever the cut said
    scores = scorer_of(card, 2).score(stamps)
    assert np.isnan(scores.probability[2]).all()
    assert np.isnan([scores.p_image[2], scores.p_image_err[2]]).all()
    rest = [0, 1, 3]
    np.testing.assert_allclose(scores.probability[rest], want.probability[rest], atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_not_finite_stays_nan(value: float) -> None:
    network = make_network()
    network.head.bias.data[1] = value
    scores = TorchScorer(network, make_card(), CPU).score(make_stamps(3))
    for array in (scores.probability, scores.p_image, scores.p_image_err):
        assert np.isnan(array).all()


def test_no_stamps_give_no_scores() -> None:
    scores = scorer_of(make_card()).score(make_stamps(0))
    assert scores.probability.shape == (0, 3)


def test_scores_of_unequal_length_cannot_be() -> None:
    with pytest.raises(ValueError, match="2 stamps"):
        Scores(np.zeros((2, 2), np.float32), *np.zeros((3, 3), np.float32))


class NarrowNetwork(ResNet):
    """A network on a device with memory for only so many stamps."""

    room = 3

    def forward_summaries(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if len(x) > self.room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return super().forward_summaries(x)


def test_batches_are_halved_until_they_fit() -> None:
    torch.manual_seed(0)
    network = NarrowNetwork("resnet15", 4, 3, 4).eval()
    twin = ResNet("resnet15", 4, 3, 4).eval()
    twin.load_state_dict(network.state_dict())
    stamps = make_stamps(11)
    scores = TorchScorer(network, make_card(), CPU, 8).score(stamps)
    want = TorchScorer(twin, make_card(), CPU).score(stamps)
    np.testing.assert_allclose(scores.probability, want.probability, atol=1e-6)


def test_memory_for_not_one_stamp_is_one_line() -> None:
    network = NarrowNetwork("resnet15", 4, 3, 4).eval()
    network.room = 0
    with pytest.raises(RunError, match="no memory for a single stamp"):
        TorchScorer(network, make_card(), CPU, 8).score(make_stamps(2))


def test_a_scorer_is_loaded_from_its_file(tmp_path: Path) -> None:
    card, network = make_card(), make_network()
    save_checkpoint(tmp_path / "tiny.safetensors", network, card)
    scorer: Scorer = TorchScorer.load(tmp_path / "tiny.safetensors", device="cpu", batch_size=2)
    assert scorer.card == card
    want = scorer_of(card).score(make_stamps(3))
    got = scorer.score(make_stamps(3))
    np.testing.assert_allclose(got.probability, want.probability, atol=1e-6)


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("gpu9", "tpu", "meta", ""):
        with pytest.raises(ConfigError, match=f"no device '{name}'"):
            choose_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_cuda_device_is_one_line() -> None:
    with pytest.raises(ConfigError, match="needs a CUDA device"):
        choose_device("cuda")
