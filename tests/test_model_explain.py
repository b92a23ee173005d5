"""Explanations: against their definitions, against symmetry, and against trained blindness."""

import functools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from numpy.typing import NDArray
from scipy.stats import spearmanr

from survey_classifier.model.card import ModelCard
from survey_classifier.model.explain import (
    attention_rollout,
    explain_stamps,
    grad_cam,
    member_log_odds,
    occlusion,
)
from survey_classifier.model.network import Network, build_network
from survey_classifier.model.resnet import ResNet
from survey_classifier.model.scorer import TorchScorer
from survey_classifier.model.vit import VisionTransformer
from tests.test_model_scorer import CPU, make_card, make_network, make_stamps

SIZE = 32
N_STEP = 150
VIT = {"architecture": "vit", "width": 16}
VIT |= {"transformer": {"patch_px": 8, "depth": 3, "n_heads": 2}}


def seeing(**changes: Any) -> ModelCard:
    """Return the card of a network for stamps of one band with blobs."""
    stretch = {"r": {"softening": 50.0, "maximum": 900.0}}
    classes = {"classes": ["nonmember", "member"], "prevalence": {"nonmember": 0.5, "member": 0.5}}
    own = {"bands": ["r"], "stamp_px": SIZE, "stretch": stretch, "width": 8, "temperature": 1.0}
    return make_card(**(own | classes | changes))


def draw(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, NDArray[np.int64]]:
    """Return noise with a disk (member) or a bar somewhere, which it is, and its place."""
    rng = np.random.default_rng(seed)
    place = rng.integers(6, SIZE - 6, (n, 2))
    label = np.arange(n) % 2
    axis = np.arange(SIZE)
    dy, dx = (axis[None] - place[:, [k]] for k in (0, 1))
    along, across = (32, 2) if seed % 2 else (2, 32)
    bar = np.exp(-(dy[:, :, None] ** 2) / along - dx[:, None, :] ** 2 / across)
    disk = np.exp(-(dy[:, :, None] ** 2 + dx[:, None, :] ** 2) / 8)
    image = np.where(label[:, None, None] == 1, disk, bar) + rng.normal(0, 0.1, (n, SIZE, SIZE))
    x = np.stack([image, np.ones_like(image)], axis=1).astype(np.float32)
    return torch.from_numpy(x), torch.from_numpy(label), place


@functools.cache
def trained() -> ResNet:
    """Return a network that tells disks from bars."""
    torch.manual_seed(0)
    network = build_network(seeing())
    assert isinstance(network, ResNet)
    optimizer = torch.optim.AdamW(network.parameters())
    for step in range(N_STEP):
        optimizer.param_groups[0]["lr"] = 2e-3 * (1 + np.cos(np.pi * step / N_STEP))
        x, label, _ = draw(64, step)
        loss = F.cross_entropy(network(x), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def transformer() -> VisionTransformer:
    torch.manual_seed(1)
    network = build_network(seeing(**VIT))
    assert isinstance(network, VisionTransformer)
    for block in network.blocks:
        torch.nn.init.normal_(block.attention.to_qkv.weight, std=0.5)
    return network.eval()


def test_log_odds_are_those_of_the_score() -> None:
    card, network, stamps = make_card(), make_network(), make_stamps(3)
    scores = TorchScorer(make_network(), card, CPU).score(stamps)
    found = [e.log_odds for e in explain_stamps(network, card, stamps)]
    np.testing.assert_allclose(1 / (1 + np.exp(-np.array(found))), scores.p_image, atol=1e-5)


def test_maps_say_nothing_where_there_is_no_data() -> None:
    card, stamps = make_card(), make_stamps(2)
    stamps.flux[0, :, :, : stamps.flux.shape[-1] // 3] = np.nan
    part, whole = explain_stamps(make_network(), card, stamps)
    for found in (part.focus, part.occlusion):
        np.testing.assert_array_equal(np.isnan(found), part.x[-1] == 0)
        assert 0.2 < np.isnan(found).mean() < 0.5
    assert np.isfinite([whole.focus, whole.occlusion]).all()


def test_at_the_last_stage_it_is_the_class_activation_map() -> None:
    """There the gradient is known: Selvaraju et al. 2017, section 3.2 (after Zhou et al. 2016)."""
    torch.manual_seed(0)
    card = seeing(stamp_px=224, n_views=1, width=4, temperature=1.3)
    network = build_network(card).eval()
    x = torch.rand(1, 2, 224, 224)
    with torch.no_grad():
        maps = network.blocks(network.stem(x))[0]
    assert maps.shape[1:] == (7, 7)
    weight = (network.head.weight[1] - network.head.weight[0]).detach() / 1.3
    want = torch.einsum("k,kyx->yx", weight, maps) / 49
    got = grad_cam(network, card, x)
    np.testing.assert_allclose(got[::32, ::32], want, atol=1e-6)
    np.testing.assert_allclose(got[16, ::32], (want[0] + want[1]) / 2, atol=1e-6)
    np.testing.assert_allclose(got[193:], np.tile(got[192], (31, 1)), atol=1e-6)


@pytest.mark.parametrize("size", [8, 32, 50, 200])
def test_maps_cover_a_stamp_of_any_size(size: int) -> None:
    card = seeing(stamp_px=size, n_views=2, width=2)
    network = build_network(card).eval()
    x = torch.rand(1, 2, size, size)
    for found in (grad_cam(network, card, x), occlusion(network, card, x)):
        assert found.shape == (size, size)
        assert found.dtype == np.float32
        assert np.isfinite(found).all()


@pytest.mark.parametrize("kind", ["grad_cam", "occlusion", "rollout", "occlusion of vit"])
def test_a_turned_stamp_has_turned_maps(kind: str) -> None:
    is_vit = kind in ("rollout", "occlusion of vit")
    card = seeing(n_views=8, **(VIT if is_vit else {}))
    network: Network = transformer() if is_vit else trained()
    explain: Any = {"grad_cam": grad_cam, "rollout": attention_rollout}.get(kind, occlusion)
    x, _, _ = draw(1, 5)
    upright = explain(network, card, x)
    assert upright.std() > 0
    for turned, want in (
        (x.rot90(1, (2, 3)), np.rot90(upright)),
        (x.flip(3), upright[:, ::-1]),
    ):
        np.testing.assert_allclose(explain(network, card, turned), want, atol=2e-4)


def test_rollout_is_the_product_of_its_definition() -> None:
    card, network = seeing(n_views=1, **VIT), transformer()
    x, _, _ = draw(1, 6)
    with torch.no_grad():
        layers = [layer[0].numpy().astype(np.float64) for layer in network.attention(x)]
    rolled = np.eye(17)
    for layer in layers:
        mixed = layer.mean(axis=0) + np.eye(17)
        rolled = (mixed / mixed.sum(axis=1, keepdims=True)) @ rolled
    share = rolled[0, 1:].reshape(4, 4)
    got = attention_rollout(network, card, x)
    centers = got[3::8, 3::8] + got[4::8, 4::8]  # a patch's center is between two pixels
    assert spearmanr(centers.ravel(), share.ravel()).statistic > 0.99
    np.testing.assert_allclose(got[0, [0, -1]], share[0, [0, -1]] / share.mean(), rtol=1e-4)


def test_attention_to_all_alike_rolls_out_to_one() -> None:
    network = transformer()
    for block in network.blocks:
        torch.nn.init.zeros_(block.attention.to_qkv.weight)
    x, _, _ = draw(1, 6)
    np.testing.assert_allclose(attention_rollout(network, seeing(**VIT), x), 1, atol=1e-6)


def test_occlusion_is_what_a_loop_over_squares_finds() -> None:
    card, network = seeing(n_views=2), trained()
    x, _, _ = draw(1, 7)
    x[:, :, :3, :9] = 0  # a corner that is not valid
    rim = x[0, 0].clone()
    rim[3:-3, 3:-3] = np.nan
    rim[:3, :9] = np.nan
    sky = float(rim.nanmedian())
    total, n_cover = np.zeros((SIZE, SIZE)), np.zeros((SIZE, SIZE))
    side, starts = 5, [0, 1, 3, 5, 7, 9, 10, 12]
    starts += [SIZE - side - start for start in starts]
    for y0 in starts:
        for x0 in starts:
            covered = x.clone()
            square = (slice(y0, y0 + side), slice(x0, x0 + side))
            covered[0, 0][square] = torch.where(x[0, 1][square] > 0, sky, x[0, 0][square])
            with torch.no_grad():
                fall = member_log_odds(network, card, x) - member_log_odds(network, card, covered)
            total[square] += float(fall)
            n_cover[square] += 1
    np.testing.assert_allclose(occlusion(network, card, x), total / n_cover, atol=1e-4)


def test_covering_blank_sky_changes_nothing() -> None:
    x = torch.ones(1, 2, SIZE, SIZE) * 0.3
    x[:, 1] = 1
    np.testing.assert_allclose(occlusion(trained(), seeing(n_views=1), x), 0, atol=1e-5)


def peaks(network: ResNet, explain: Any, x: torch.Tensor) -> NDArray[np.int64]:
    """Return where the maps of stamps are largest in size, ``(n, 2)``."""
    found = [np.abs(explain(network, seeing(), one[None])) for one in x]
    return np.array([np.unravel_index(part.argmax(), part.shape) for part in found])


def test_maps_of_a_network_that_knows_peak_at_what_it_knows() -> None:
    x, label, place = draw(24, 1000)
    network = trained()
    with torch.no_grad():
        assert ((network(x)[:, 1] > 0) == (label == 1)).float().mean() > 0.9
    for explain, radius in ((occlusion, 4), (grad_cam, 8)):
        off = np.abs(peaks(network, explain, x) - place).max(axis=1)
        assert np.mean(off <= radius) > 0.75, explain.__name__
    there = [grad_cam(network, seeing(), one[None])[*at] for one, at in zip(x, place, strict=True)]
    assert ((np.array(there) > 0) == (label.numpy() == 1)).mean() > 0.8


@pytest.mark.parametrize("explain", [grad_cam, occlusion])
@pytest.mark.parametrize("part", [("blocks",), ("blocks", "head")])
def test_maps_of_random_weights_are_others(explain: Any, part: tuple[str, ...]) -> None:
    """The sanity check of Adebayo et al. 2018: a map must depend on what was learned."""
    x, _, _ = draw(12, 1000)
    torch.manual_seed(5)
    drawn = build_network(seeing()).state_dict()
    forgetful = build_network(seeing()).eval()
    forgetful.load_state_dict(
        trained().state_dict() | {name: drawn[name] for name in drawn if name.startswith(part)}
    )
    alike = [
        spearmanr(*(explain(network, seeing(), one[None]).ravel() for network in networks))
        for one in x
        for networks in [(trained(), forgetful)]
    ]
    assert abs(np.median([found.statistic for found in alike])) < 0.5
