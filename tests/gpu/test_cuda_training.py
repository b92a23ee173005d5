"""Training where there is a CUDA device; skipped, saying so, elsewhere."""

import pytest
import torch

from survey_classifier.model.checkpoint import load_network, read_card
from survey_classifier.training.fit import train
from survey_classifier.training.recipes import read_recipe
from tests.labeled_field import RECIPE, make_field

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


class StoppedError(Exception):
    """Stands for whatever ends a process."""


def test_a_training_on_cuda_goes_on_and_finds_members(tmp_path):
    folder = make_field(tmp_path)
    path = folder / "recipe.toml"
    path.write_text(RECIPE.format(out=folder / "out", epochs=12))

    def stop(n_done, _):
        if n_done == 20:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(path, stop, device="cuda")
    assert read_recipe(path).state_folder.is_dir()
    checkpoint = train(path, device="cuda")
    assert read_card(checkpoint).metrics["auc_out_of_fold"] > 0.95
    network, _ = load_network(checkpoint)
    assert {tensor.device.type for tensor in network.state_dict().values()} == {"cpu"}
    assert all(tensor.is_contiguous() for tensor in network.state_dict().values())
