"""What only a machine with a CUDA device can show; skipped, saying so, elsewhere."""

import numpy as np
import pytest
import torch

from survey_classifier import classify, plan
from survey_classifier.model.scorer import TorchScorer
from survey_classifier.stamps import cut_stamps
from tests import small_run
from tests.test_run_classify import assert_same_rows, rows_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    return small_run.make(tmp_path_factory.mktemp("cuda"))


def test_scores_do_not_depend_on_the_device(pieces):
    laid_out = plan(pieces.write())
    (sheet,) = laid_out.sheets
    sources = laid_out.inputs.sources
    x, y = sheet.mosaic.world_to_pixel(sources.ra_deg, sources.dec_deg)
    stamps = cut_stamps(sheet.mosaic, x, y, sheet.pixels.size_px, ("g", "i"))
    path = laid_out.inputs.checkpoint
    on_gpu = TorchScorer.load(path, "cuda").score(stamps)
    on_cpu = TorchScorer.load(path, "cpu").score(stamps)
    np.testing.assert_allclose(on_gpu.probability, on_cpu.probability, atol=1e-5)


def test_a_run_on_a_cuda_cluster_has_the_serial_rows(pieces):
    pytest.importorskip("dask_cuda", reason="survey-classifier[gpu] is not installed")
    run = pieces.write("cuda", model={"device": "cuda"})
    ours = rows_of(classify(run, cluster="cuda"))
    assert_same_rows(ours, rows_of(classify(pieces.write("serial"))))
