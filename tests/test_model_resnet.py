"""The networks against published sizes and against themselves."""

import pytest
import torch
from torch import nn

from survey_classifier.model.resnet import ARCHITECTURES, ResNet, fuse_norms

# He et al. 2016 as torchvision ships them: 3 channels, 1000 classes.
PUBLISHED = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
}


def n_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("architecture", "n"), PUBLISHED.items())
def test_parameters_are_as_many_as_published(architecture: str, n: int) -> None:
    with torch.device("meta"):
        network = ResNet(architecture, 3, 1000)
    assert n_parameters(network) == n


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_layers_on_the_longest_path_are_as_many_as_the_name_says(architecture: str) -> None:
    with torch.device("meta"):
        network = ResNet(architecture, 3, 1000)
    convolutions = [m for n, m in network.named_modules() if isinstance(m, nn.Conv2d)]
    shortcuts = [n for n, m in network.named_modules() if n.endswith("shortcut.conv")]
    n_layer = len(convolutions) - len(shortcuts)
    # resnet15 is named after its convolutions, the published ones count the linear head too.
    head = 0 if architecture == "resnet15" else 1
    assert n_layer + head == int(architecture.removeprefix("resnet"))


def test_resnet15_is_resnet18_less_its_last_block() -> None:
    with torch.device("meta"):
        small, large = ResNet("resnet15", 3, 1000), ResNet("resnet18", 3, 1000)
    assert len(small.blocks) == 7
    assert n_parameters(large) - n_parameters(small) == n_parameters(large.blocks[-1])


@pytest.mark.parametrize("architecture", ["resnet15", "resnet50"])
@pytest.mark.parametrize(("n_channel", "size_px"), [(1, 33), (4, 50), (7, 64)])
def test_any_channels_and_size_give_logits_from_features(
    architecture: str, n_channel: int, size_px: int
) -> None:
    network = ResNet(architecture, n_channel, 3, width=8).eval()
    x = torch.randn(2, n_channel, size_px, size_px)
    features = network.forward_features(x)
    assert features.shape == (2, 64 * (4 if architecture == "resnet50" else 1))
    assert network(x).shape == (2, 3)
    torch.testing.assert_close(network.forward_head(features), network(x))


def test_width_scales_every_layer() -> None:
    def widths(width: int) -> list[int]:
        network = ResNet("resnet15", 4, 2, width)
        return [m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)]

    assert widths(32) == [2 * channels for channels in widths(16)]
    assert widths(64)[0] == 64


def test_fused_norms_change_nothing_but_rounding() -> None:
    torch.manual_seed(1)
    network = ResNet("resnet15", 4, 2, width=8)
    for _ in range(3):  # running means and scales that differ from their start
        network(torch.randn(8, 4, 40, 40) * 3 + 1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    network.eval()
    x = torch.randn(4, 4, 40, 40)
    before = network(x)
    fuse_norms(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    torch.testing.assert_close(network(x), before, rtol=1e-4, atol=1e-5)
