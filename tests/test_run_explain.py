"""Explaining sources of a small run: the same stamps, the same scores, and what can't be."""

import html
import re
import shutil
import sys
from itertools import pairwise
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from survey_classifier import classify, cli
from survey_classifier.errors import CatalogError, CheckpointError, ConfigError, MosaicError
from survey_classifier.model.card import ModelCard
from survey_classifier.model.checkpoint import save_checkpoint
from survey_classifier.model.explain import Explanation
from survey_classifier.model.network import build_network
from survey_classifier.run import explanation_figure as explanation_figure_module
from survey_classifier.run.explain import INDEX, _stem, explain
from survey_classifier.run.explanation_figure import color_image, explanation_figure
from tests import small_run
from tests.test_run_many import PIECES, ManyRun, write_piece


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = small_run.make(tmp_path_factory.mktemp("explain"))
    table = pd.read_csv(run.folder / "sources.csv")
    table.loc[table.name == "S-033", "name"] = "../S 33 <b>"
    table.to_csv(run.folder / "sources.csv", index=False)
    assert classify(run.write()).exit_code == 0
    return run.folder / "out-run"


@pytest.fixture
def copied(finished, tmp_path):
    """A run that may be spoiled."""
    run = shutil.copytree(finished.parent, tmp_path / "run")
    toml = run / "out-run" / "run.toml"
    toml.write_text(toml.read_text().replace(str(finished.parent), str(run)))
    return run / "out-run"


def rows_of(out):
    return pd.read_parquet(out / "run.parquet").set_index("source_id")


def again(page):
    """Return p_image of the stamp that was cut again, and that of the catalog, as a page says."""
    found = re.search(r"(\d\.\d{6}) \(catalog (\d\.\d{6})\)", page.read_text())
    return float(found[1]), float(found[2])


def test_the_stamp_cut_again_has_the_score_of_the_catalog(finished, tmp_path):
    rows = rows_of(finished)
    names = ["S-020", "S-002", "S-001", "S-033", "S-060", "S-071"]
    names = [name for name in names if name in rows.index and rows.status[name] == "classified"]
    assert len(names) > 3
    steps = []
    pages = explain(finished, [*names, names[0]], tmp_path, lambda *step: steps.append(step))
    assert [page.name for page in pages] == [f"{name}.html" for name in names]
    assert steps == [(k + 1, len(names)) for k in range(len(names))]
    for name, page in zip(names, pages, strict=True):
        cut_again, catalog = again(page)
        assert catalog == pytest.approx(rows.p_image[name], abs=1e-6)
        assert cut_again == pytest.approx(catalog, abs=2e-6)
        assert page.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    text = pages[0].read_text()
    assert "Grad-CAM" in text
    for column in ("llr_image", "llr_redshift", "prior_member", "p_member", "mag_r"):
        assert column in text
    assert not re.search(r"(src|href)=\"(?!data:)", text)  # the page loads nothing


def test_a_name_leads_nowhere_and_is_escaped(finished):
    (page,) = explain(finished, ["../S 33 <b>"])
    assert page.parent == finished / "explain"
    assert re.fullmatch(r"_S_33__b_-[0-9a-f]{8}\.html", page.name)
    assert page.exists()
    assert page.with_suffix(".png").exists()
    assert "S 33 &lt;b&gt;" in page.read_text()
    assert "<b>S" not in page.read_text()


@given(st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=5, unique=True))
@example(["a/b", "a_b", "a%2Fb", "a b"])
@example(["index", "Index", "..", ".", "-x", "_x", "x" * 300, "x" * 301, "PCC-0462"])
def test_files_have_names_that_a_link_can_have(names):
    stems = [_stem(name) for name in names]
    assert len(set(stems)) == len(names)
    for name, stem in zip(names, stems, strict=True):
        assert quote(stem, safe="+") == stem
        assert stem[0] not in ".-"
        assert len(stem) < 100
        assert f"{stem}.html".lower() != INDEX
        assert stem == name or re.search(r"-[0-9a-f]{8}$", stem)
    assert _stem("PCC-0462") == "PCC-0462"


def test_several_sources_have_an_index(finished, tmp_path):
    names = ["S-020", "../S 33 <b>"]
    pages = explain(finished, names, tmp_path)
    text = (tmp_path / INDEX).read_text()
    assert re.findall(r'href="([^"]*)"', text) == [page.name for page in pages]
    rows = rows_of(finished)
    for name in names:
        assert f"<td>{rows.p_image[name]:.3f}</td>" in text
        assert f">{html.escape(name)}</a>" in text
    alone = tmp_path / "alone"
    explain(finished, names[:1], alone)
    assert sorted(path.name for path in alone.iterdir()) == ["S-020.html", "S-020.png"]


@pytest.mark.parametrize("name", ["S-020.png", "S-020.html", "index.html"])
def test_files_that_are_no_explanation_s_are_not_written_over(finished, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(CatalogError, match=rf"{name} is not known to be an expl"):
        explain(finished, ["S-020", "S-073"], tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]
    own = tmp_path / "own"
    before = [path.name for path in explain(finished, ["S-020"], own)]
    assert [path.name for path in explain(finished, ["S-020"], own)] == before


def test_what_has_no_score_is_said_with_its_status(finished, tmp_path):
    rows = rows_of(finished)
    for status in ("no_data", "saturated", "off_mosaic", "no_position"):
        name = rows.index[rows.status == status][0]
        with pytest.raises(CatalogError, match=f"'{name}' has no score .* status is {status}"):
            explain(finished, ["S-020", name], tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_unknown_source_has_a_nearest_one(finished):
    with pytest.raises(CatalogError, match="no source 's-020'; did you mean 'S-020'"):
        explain(finished, ["s-020"])


def test_a_folder_without_a_run_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="name a run's output folder"):
        explain(tmp_path, ["S-020"])


def test_a_changed_network_is_refused(copied):
    small_run.write_checkpoint(copied.parent / "net.safetensors", seed=1)
    with pytest.raises(CheckpointError, match="has the digest"):
        explain(copied, ["S-020"])


def test_a_changed_mosaic_is_refused(copied):
    shutil.rmtree(copied.parent / "small.zarr")
    with pytest.raises(MosaicError, match=r"small\.zarr"):
        explain(copied, ["S-020"])
    small_run.write_store(copied.parent / "small.zarr", bands=("g", "i", "z"))
    with pytest.raises(MosaicError, match="has changed since the run"):
        explain(copied, ["S-020"])


def test_a_folder_that_was_moved_is_explained(copied):
    moved = copied.rename(copied.with_name("elsewhere"))
    (page,) = explain(moved, ["S-020"])
    assert page.parent == moved / "explain"


def test_a_page_that_cannot_be_written_is_one_line(finished, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CatalogError, match="name another folder with --out"):
        explain(finished, ["S-020"], tmp_path / "file")


def test_each_source_is_cut_from_its_own_mosaic(tmp_path):
    pieces = small_run.make(tmp_path)
    for name, (box, angle) in PIECES.items():
        write_piece(tmp_path, name, box, angle)
    path = ManyRun(pieces.folder).over("north.zarr", "east.zarr", "west.zarr")
    classify(path)
    rows = pd.read_parquet(tmp_path / "out-many" / "many.parquet").set_index("source_id")
    scored = rows[rows.status == "classified"]
    owner = scored.tile.str.partition(".")[0]
    names = [owner.index[owner == piece][0] for piece in PIECES]
    for page, piece in zip(explain(tmp_path / "out-many", names), PIECES, strict=True):
        cut_again, catalog = again(page)
        assert cut_again == pytest.approx(catalog, abs=2e-6)
        assert f"{piece}, " in page.read_text()


def test_a_transformer_is_explained_by_its_attention(copied):
    card = small_run.card(
        architecture="vit", width=16, transformer={"patch_px": 8, "depth": 2, "n_heads": 2}
    )
    torch.manual_seed(0)
    save_checkpoint(copied.parent / "vit.safetensors", build_network(card), card)
    run = small_run.SmallRun(copied.parent)
    classify(run.write("vit", model={"checkpoint": "vit.safetensors"}))
    (page,) = explain(copied.parent / "out-vit", ["S-020"])
    assert "Attention rollout" in page.read_text()
    cut_again, catalog = again(page)
    assert cut_again == pytest.approx(catalog, abs=2e-6)


def test_the_verb_says_where_the_pages_are(finished, tmp_path, monkeypatch, capsys):
    words = ["survey-classifier", "explain", finished, "S-020", "S-021", "--out", tmp_path]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    pages = [f"page: {tmp_path / name}.html" for name in ("S-020", "S-021")]
    assert capsys.readouterr().out.splitlines() == [*pages, f"index: {tmp_path / INDEX}"]


def an_explanation(bands, method="Grad-CAM", focus=0.0, occlusion=0.0):
    """Return the explanation of noise with a blob, a part of which has no data, and its card."""
    stretch = {band: {"softening": 20.0, "maximum": 2000.0} for band in bands}
    card = ModelCard(**small_run.card().model_dump() | {"bands": bands, "stretch": stretch})
    x = np.random.default_rng(0).normal(0, 1, (len(bands) + 1, 32, 32)).astype(np.float32)
    x[:-1, 12:20, 12:20] += 9
    x[-1] = 1
    x[:, :4] = 0  # no data
    maps = np.full((2, 32, 32), [[[focus]], [[occlusion]]], dtype=np.float32)
    maps[:, :4] = np.nan
    return Explanation(x, 0.0, method, *maps), card


@pytest.mark.parametrize("bands", [("r",), ("g", "i"), ("g", "r", "i"), tuple("ugrizyJ")])
def test_any_number_of_bands_is_drawn(bands):
    arrows = {"N": (0.0, 1.0), "E": (-1.0, 0.0)}
    content = (*an_explanation(bands), arrows, "$\\alpha \n \u9280 " + "x" * 90, "p_image .5 $")
    picture = explanation_figure(*content)
    assert picture.startswith(b"\x89PNG")
    assert picture == explanation_figure(*content)


@pytest.mark.parametrize(
    ("method", "focus", "occlusion", "ends"),
    [
        ("Grad-CAM", 1e-5, -1e-5, [(-0.01, 0.01), (-0.1, 0.1)]),
        ("Grad-CAM", -0.4, 2.5, [(-0.4, 0.4), (-2.5, 2.5)]),
        ("attention rollout", 1.0, 0.0, [(0, 2), (-0.1, 0.1)]),
        ("attention rollout", 3.5, 0.0, [(0, 3.5), (-0.1, 0.1)]),
        ("attention rollout", 40.0, 0.0, [(0, 40), (-0.1, 0.1)]),
    ],
)
def test_scales_say_what_they_are_and_do_not_blow_up_nothing(
    monkeypatch, method, focus, occlusion, ends
):
    drawn = []
    monkeypatch.setattr(explanation_figure_module, "as_png", lambda f: drawn.append(f) or b"")
    explanation_figure(*an_explanation(tuple("gri"), method, focus, occlusion), {}, "S-020", "p .5")
    (figure,) = drawn
    maps = [axes for axes in figure.axes if axes.get_title() in (method, "occlusion")]
    images = [axes.get_images()[0] for axes in maps]
    np.testing.assert_allclose([image.get_clim() for image in images], ends, rtol=1e-6)
    assert all(image.get_array().mask[:4].all() for image in images)  # no color without data
    bars = [image.colorbar.ax for image in images]
    assert all(bar.get_xlabel() for bar in bars)
    figure.canvas.draw()
    for bar in bars:
        boxes = [label.get_window_extent() for label in bar.get_xticklabels()]
        assert len(boxes) == 3
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert figure.get_suptitle() == "S-020\np .5"


def test_colors_follow_the_bands():
    views = np.zeros((3, 4, 4), dtype=np.float32)
    views[0], views[1, 0], views[2, 1] = 0.25, 0.5, 1.0
    views[:, 3] = np.nan
    rgb = color_image(views, ("g", "r", "i"))
    np.testing.assert_array_equal(rgb[0, 0], [0.0, 0.5, 0.25])
    np.testing.assert_array_equal(rgb[1, 0], [1.0, 0.0, 0.25])
    assert len(np.unique(rgb[3])) == 1
