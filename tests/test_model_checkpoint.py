"""Checkpoints: what is written is read, and nothing else is."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from survey_classifier.errors import CheckpointError
from survey_classifier.model import checkpoint, shipped
from survey_classifier.model.card import ModelCard, parse_card
from survey_classifier.model.checkpoint import file_digest, load_network, read_card, save_checkpoint
from survey_classifier.model.resnet import ResNet
from survey_classifier.model.shipped import resolve_checkpoint

FIELDS: dict[str, Any] = {
    "name": "tiny",
    "description": "two bands of nothing, simulated",
    "architecture": "resnet15",
    "width": 4,
    "classes": ["nonmember", "member"],
    "bands": ["i", "g"],
    "unit": "nJy",
    "stamp_arcsec": 20.0,
    "stamp_px": 50,
    "stretch": {
        "i": {"softening": 10.0, "maximum": 1000.0},
        "g": {"softening": 5.0, "maximum": 500.0},
    },
    "n_views": 8,
    "temperature": 1.25,
    "prevalence": {"nonmember": 0.9, "member": 0.1},
    "label_mapping": {"0": "nonmember", "1": "member"},
    "data": [{"name": "a.csv", "sha256": "0" * 64, "n": 12}],
    "metrics": {"auc_out_of_fold": 0.9},
    "code_version": "0.1.0",
}


@pytest.fixture
def card() -> ModelCard:
    return ModelCard.model_validate_json(json.dumps(FIELDS))


@pytest.fixture
def path(tmp_path: Path, card: ModelCard) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "folder" / "tiny.safetensors"
    save_checkpoint(path, ResNet("resnet15", 3, 2, 4), card)
    return path


def header_file(path: Path, header: bytes, n_bytes: int | None = None) -> Path:
    n_bytes = len(header) if n_bytes is None else n_bytes
    path.write_bytes(n_bytes.to_bytes(8, "little") + header)
    return path


def test_round_trip(tmp_path: Path, card: ModelCard) -> None:
    network = ResNet("resnet15", 3, 2, 4)
    network(torch.randn(4, 3, 50, 50))  # moves the running means
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, network, card)
    loaded, loaded_card = load_network(path, file_digest(path))
    assert loaded_card == read_card(path) == card
    assert not loaded.training
    x = torch.randn(2, 3, 50, 50)
    torch.testing.assert_close(loaded(x), network.eval()(x), rtol=0, atol=0)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.safetensors"]


def test_same_network_and_card_give_the_same_bytes(tmp_path: Path, card: ModelCard) -> None:
    network = ResNet("resnet15", 3, 2, 4)
    for name in ("a.safetensors", "b.safetensors"):
        save_checkpoint(tmp_path / name, network, card)
    assert file_digest(tmp_path / "a.safetensors") == file_digest(tmp_path / "b.safetensors")


def test_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert file_digest(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()


def test_reading_a_card_loads_no_torch(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from survey_classifier.model.checkpoint import read_card, file_digest;"
        f"read_card(Path({str(path)!r})); file_digest(Path({str(path)!r}));"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("header", "n_bytes"),
    [
        (b"", 0),
        (b"{", None),
        (b"[1, 2]", None),
        (b"null", None),
        (b"{}" + b" " * 100, 1 << 62),
        (b"{}", 3),
        (b'{"__metadata__": 3}', None),
        (b'{"__metadata__": {}}', None),
        (b'{"__metadata__": {"format": "pt"}}', None),
        (b'{"__metadata__": {"format": "survey_classifier/1"}}', None),
        (b'{"__metadata__": {"format": "survey_classifier/1", "card": 7}}', None),
        (b'{"__metadata__": {"format": "survey_classifier/1", "card": "{}"}}', None),
        (b'{"__metadata__": {"format": "survey_classifier/1", "card": "[["}}', None),
        (b"[" * 100_000, None),
        (b"\xff\xfe\x00", None),
    ],
)
def test_a_hostile_header_is_one_line(tmp_path: Path, header: bytes, n_bytes: int | None) -> None:
    path = header_file(tmp_path / "bad.safetensors", header, n_bytes)
    for read in (read_card, load_network):
        with pytest.raises(CheckpointError) as caught:
            read(path)
        assert "\n" not in str(caught.value)
        assert "bad.safetensors" in str(caught.value)


def test_an_empty_or_short_or_absent_file_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"\x01\x00"):
        (tmp_path / "short.safetensors").write_bytes(content)
        with pytest.raises(CheckpointError, match="no checkpoint"):
            read_card(tmp_path / "short.safetensors")
    for read in (read_card, load_network, file_digest):
        with pytest.raises(CheckpointError, match="can't be read"):
            read(tmp_path / "absent.safetensors")


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    torch.save({"card": 1}, tmp_path / "pickle.safetensors")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_network(tmp_path / "pickle.safetensors")


def test_a_truncated_file_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="is truncated, 1"):
        load_network(path)


def test_another_digest_is_refused(path: Path) -> None:
    with pytest.raises(CheckpointError, match="planned with 111111111111"):
        load_network(path, "1" * 64)


def rewritten(path: Path, change: Any) -> Path:
    tensors = load_file(path)
    change(tensors)
    metadata = {"format": "survey_classifier/1", "card": read_card(path).model_dump_json()}
    save_file(tensors, path, metadata)
    return path


def drop(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["head.bias"]


def add(tensors: dict[str, torch.Tensor]) -> None:
    tensors["head.extra"] = torch.zeros(1)


def reshape(tensors: dict[str, torch.Tensor]) -> None:
    tensors["head.bias"] = torch.zeros(3)


def retype(tensors: dict[str, torch.Tensor]) -> None:
    tensors["head.bias"] = tensors["head.bias"].half()


def poison(tensors: dict[str, torch.Tensor]) -> None:
    tensors["head.bias"][0] = torch.nan


@pytest.mark.parametrize("change", [drop, add, reshape, retype, poison])
def test_tensors_that_are_not_the_cards_are_refused(path: Path, change: Any) -> None:
    with pytest.raises(CheckpointError, match=r"head\.(bias|extra)"):
        load_network(rewritten(path, change))


def test_a_card_of_a_huge_network_allocates_nothing(path: Path) -> None:
    """The card of resnet152 at width 512 (14 GiB) in front of the tensors of a tiny network."""
    huge = read_card(path).model_copy(update={"architecture": "resnet152", "width": 512})
    metadata = {"format": "survey_classifier/1", "card": huge.model_dump_json()}
    save_file(load_file(path), path, metadata)
    code = (
        "import resource, sys; from pathlib import Path;"
        "from survey_classifier.errors import CheckpointError;"
        "from survey_classifier.model import checkpoint, resnet;"
        "_, hard = resource.getrlimit(resource.RLIMIT_AS);"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize();"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 30), hard))\n"
        f"try: checkpoint.load_network(Path({str(path)!r}))\n"
        "except CheckpointError as error: sys.exit('does not fit its card' not in str(error))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_file_larger_than_any_checkpoint_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "MAX_FILE_BYTES", path.stat().st_size)
    load_network(path)
    monkeypatch.setattr(checkpoint, "MAX_FILE_BYTES", path.stat().st_size - 1)
    with pytest.raises(CheckpointError, match="no checkpoint has more than"):
        load_network(path)


def test_a_loaded_network_is_whole(path: Path) -> None:
    """Nothing of it is left without memory, and it can be trained on."""
    network, _ = load_network(path)
    assert {tensor.device.type for tensor in network.state_dict().values()} == {"cpu"}
    assert all(parameter.requires_grad for parameter in network.parameters())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    loss = network.train()(torch.randn(4, 3, 50, 50)).square().mean()
    torch.autograd.backward(loss)
    torch.optim.SGD(network.parameters(), lr=1.0).step()
    after = network.state_dict()
    for name in ("head.bias", "blocks.0.residual.0.norm.running_mean"):
        assert not torch.equal(before[name], after[name])
    again, _ = load_network(path)
    for name, value in again.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_card_of_another_network_is_not_written(tmp_path: Path, card: ModelCard) -> None:
    with pytest.raises(CheckpointError, match="does not fit its card"):
        save_checkpoint(tmp_path / "x.safetensors", ResNet("resnet15", 3, 2, 8), card)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path, card: ModelCard) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="can't be written"):
        save_checkpoint(tmp_path / "file" / "x.safetensors", ResNet("resnet15", 3, 2, 4), card)


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("classes", ["a", "b"], "member"),
        ("classes", ["member"], "classes"),
        ("bands", ["i", "i"], "repeat"),
        ("bands", [], "bands"),
        ("unit", "mJy", "unit"),
        ("architecture", "resnet16", "architecture"),
        ("width", 10**9, "width"),
        ("stamp_px", 10**9, "stamp_px"),
        ("stamp_arcsec", 0.0, "stamp_arcsec"),
        ("n_views", 3, "n_views"),
        ("temperature", -1.0, "temperature"),
        ("stretch", {"i": {"softening": 1, "maximum": 2}}, "stretch"),
        ("prevalence", {"nonmember": 0.5, "member": 0.4}, "prevalence"),
        ("prevalence", {"member": 0.4}, "prevalence"),
        ("label_mapping", {"1": "cluster"}, "label_mapping"),
        ("metrics", {"auc": None}, "metrics"),
        ("description", "", "description"),
        ("name", "../x", "name"),
        ("surprise", 1, "surprise"),
    ],
)
def test_a_card_cannot_be_invalid(field: str, value: object, named: str) -> None:
    with pytest.raises(CheckpointError, match=named) as caught:
        parse_card(json.dumps(FIELDS | {field: value}), "x.safetensors")
    assert "\n" not in str(caught.value)


def test_every_field_is_needed() -> None:
    for field in FIELDS:
        with pytest.raises(CheckpointError, match=field):
            parse_card(json.dumps({k: v for k, v in FIELDS.items() if k != field}), "x")


def test_a_name_means_a_shipped_file_and_a_suffix_a_path(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "SHIPPED", path.parent)
    assert resolve_checkpoint("tiny", tmp_path) == path
    assert resolve_checkpoint("folder/tiny.safetensors", tmp_path) == path
    assert resolve_checkpoint(str(path), tmp_path / "elsewhere") == path
    with pytest.raises(CheckpointError, match="did you mean 'tiny'"):
        resolve_checkpoint("tinny", tmp_path)
    with pytest.raises(CheckpointError, match="known are tiny"):
        resolve_checkpoint("qqq", tmp_path)
    with pytest.raises(CheckpointError, match=r"no checkpoint .*absent\.safetensors"):
        resolve_checkpoint("absent.safetensors", tmp_path)


def test_shipped_checkpoints_load_and_stay_small() -> None:
    paths = sorted(shipped.SHIPPED.glob("*.safetensors"))
    assert "perseus-sdss" in [path.stem for path in paths]
    assert max(path.stat().st_size for path in paths) < 7e6
    for path in paths:
        _, card = load_network(path)
        assert card.name == path.stem
        assert card.metrics["n_out_of_fold"] > 0
        assert ("simulated" in card.description.lower()) == ("synthetic" in card.name)
