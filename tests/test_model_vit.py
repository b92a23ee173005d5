"""The vision transformer against published sizes and against torch's own layers."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from survey_classifier.errors import CheckpointError
from survey_classifier.model.card import ModelCard, parse_card
from survey_classifier.model.checkpoint import load_network, read_card, save_checkpoint
from survey_classifier.model.network import build_network
from survey_classifier.model.resnet import ResNet, fuse_norms
from survey_classifier.model.scorer import TorchScorer
from survey_classifier.model.vit import Attention, Block, VisionTransformer
from survey_classifier.stamps import Stamps
from tests.test_model_checkpoint import FIELDS

# Dosovitskiy et al. 2021 and Touvron et al. 2021, as their authors count them: patches of 16 px of
# 224 px, 3 channels, 1000 classes.
PUBLISHED = {(192, 3): 5_717_416, (384, 6): 22_050_664, (768, 12): 86_567_656}
SHAPE = {"patch_px": 5, "depth": 2, "n_heads": 2}


def small(n_class: int = 2) -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(3, n_class, 16, n_patch=4, patch_px=5, depth=3, n_heads=2).eval()


def card_of(**changed: Any) -> ModelCard:
    fields = FIELDS | {"architecture": "vit", "width": 8, "stamp_px": 50, "transformer": SHAPE}
    return parse_card(json.dumps(fields | changed), "here")


@pytest.mark.parametrize(("width", "n_heads"), PUBLISHED)
def test_parameters_are_as_many_as_published(width: int, n_heads: int) -> None:
    with torch.device("meta"):
        network = VisionTransformer(
            3, 1000, width, n_patch=14, patch_px=16, depth=12, n_heads=n_heads
        )
    n = sum(parameter.numel() for parameter in network.parameters())
    assert n == PUBLISHED[width, n_heads]


def test_a_block_is_the_encoder_layer_of_torch() -> None:
    torch.manual_seed(1)
    block = Block(16, 4).eval()
    twin = nn.TransformerEncoderLayer(
        16, 4, 64, dropout=0, activation="gelu", batch_first=True, norm_first=True
    ).eval()
    names = {
        "norm_attention": "norm1",
        "attention.to_qkv": "self_attn.in_proj",
        "attention.to_out": "self_attn.out_proj",
        "norm_mlp": "norm2",
        "mlp.0": "linear1",
        "mlp.2": "linear2",
    }
    state = {}
    for name, value in block.state_dict().items():
        module, _, kind = name.rpartition(".")
        other = names[module]
        state[f"{other}_{kind}" if other.endswith("in_proj") else f"{other}.{kind}"] = value
    twin.load_state_dict(state)
    x = torch.randn(2, 5, 16)
    torch.testing.assert_close(block(x), twin(x))


def test_attention_says_what_is_gathered() -> None:
    torch.manual_seed(2)
    attention = Attention(8, 2)
    x = torch.randn(3, 6, 8)
    weights = attention.weights(x)
    assert weights.shape == (3, 2, 6, 6)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(3, 2, 6))
    value = attention.to_qkv(x)[..., 16:].reshape(3, 6, 2, 4).transpose(1, 2)
    gathered = (weights @ value).transpose(1, 2).reshape(3, 6, 8)
    torch.testing.assert_close(attention(x), attention.to_out(gathered))


def test_attention_of_every_block_comes_from_what_it_is_shown() -> None:
    network = small()
    x = torch.randn(2, 3, 20, 20)
    maps = network.attention(x)
    assert [m.shape for m in maps] == [(2, 2, 17, 17)] * 3
    last: list[torch.Tensor] = []
    hook = network.blocks[2].attention.register_forward_pre_hook(
        lambda module, args: last.append(module.weights(*args))
    )
    network(x)
    hook.remove()
    torch.testing.assert_close(maps[2], last[0])


def test_logits_come_from_features_and_from_where_patches_are() -> None:
    network = small(3)
    x = torch.randn(2, 3, 20, 20)
    features = network.forward_features(x)
    assert features.shape == (2, 16)
    assert network(x).shape == (2, 3)
    torch.testing.assert_close(network.forward_head(features), network(x))
    # Tokens of patches row by row: without positions the order of patches is no matter.
    moved = torch.roll(x, 5, dims=3)
    assert not torch.allclose(network(moved), network(x), atol=1e-4)
    network.position.data.zero_()
    torch.testing.assert_close(network(moved), network(x))


def test_a_checkpoint_holds_it(tmp_path: Path) -> None:
    card = card_of()
    network = build_network(card)
    assert isinstance(network, VisionTransformer)
    path = tmp_path / "vit.safetensors"
    save_checkpoint(path, network, card)
    loaded, known = load_network(path)
    assert known == read_card(path) == card
    x = torch.randn(2, card.n_channel, 50, 50)
    torch.testing.assert_close(loaded(x), network.eval()(x), rtol=0, atol=0)


def test_a_card_tells_the_networks_apart() -> None:
    card = parse_card(json.dumps(FIELDS), "here")
    network = build_network(card)
    assert isinstance(network, ResNet)
    assert len(network.blocks) == 7
    assert network.head.out_features == len(card.classes)
    assert network.stem[0].conv.in_channels == card.n_channel


def test_it_scores_stamps_and_has_no_norms_to_fuse() -> None:
    card = card_of(n_views=8)
    network = build_network(card).eval()
    x = torch.randn(2, card.n_channel, 50, 50)
    before = network(x)
    fuse_norms(network)
    torch.testing.assert_close(network(x), before, rtol=0, atol=0)
    rng = np.random.default_rng(0)
    stamps = Stamps(
        bands=card.bands,
        flux=rng.normal(0, 9, (3, len(card.bands), 55, 55)).astype(np.float32),
        offset_px=np.zeros((3, 2), np.float32),
        valid_fraction=np.ones(3, np.float32),
        center_mask=np.zeros(3, np.uint8),
        sticks_out=np.zeros(3, np.bool_),
        mask_fraction=np.zeros((3, 8), np.float32),
        scale_arcsec=card.scale_arcsec,
    )
    scores = TorchScorer(network, card, torch.device("cpu")).score(stamps)
    assert np.isfinite(scores.p_image).all()
    turned = replace(stamps, flux=np.ascontiguousarray(np.rot90(stamps.flux, axes=(2, 3))))
    again = TorchScorer(network, card, torch.device("cpu")).score(turned)
    np.testing.assert_allclose(again.p_image, scores.p_image, atol=1e-6)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"transformer": None}, "vit needs the table transformer"),
        ({"architecture": "resnet15"}, "vit, not for resnet15"),
        ({"stamp_px": 52}, "multiple of patch_px 5"),
        ({"width": 9}, "multiple of n_heads 2"),
        ({"stamp_px": 1000, "transformer": SHAPE | {"patch_px": 4}}, "at most 4096 patches"),
        ({"transformer": SHAPE | {"depth": 65}}, r"transformer\.depth"),
        ({"transformer": SHAPE | {"window": 7}}, r"transformer\.window"),
    ],
)
def test_a_shape_that_can_not_be_is_one_line(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        card_of(**changed)
    assert "\n" not in str(caught.value)
