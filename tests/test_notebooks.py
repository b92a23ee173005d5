import re
import warnings
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext", reason="install survey-classifier[notebooks]")
nbclient = pytest.importorskip("nbclient", reason="install survey-classifier[notebooks]")

SCRIPTS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.py"))


def cells(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def execute(name, folder):
    """Return the notebook after all of its cells ran in a fresh kernel."""
    (script,) = (path for path in SCRIPTS if path.stem == name)
    notebook = jupytext.read(script)
    with warnings.catch_warnings():
        # What the kernel's client warns of is no concern of ours; an error in a cell raises.
        warnings.simplefilter("ignore")
        client = nbclient.NotebookClient(
            notebook, timeout=300, resources={"metadata": {"path": str(folder)}}
        )
        client.execute()
    return notebook


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    return execute("classify_a_simulated_field", tmp_path_factory.mktemp("notebook"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return execute("train_on_your_own_labels", tmp_path_factory.mktemp("notebook"))


def outputs(notebook, kind):
    """All outputs of a MIME type or a stream, in order."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "stream" and output.name == kind:
                yield output.text
            elif kind in output.get("data", {}):
                yield output.data[kind]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_notebook_is_the_script_without_outputs(script):
    notebook = jupytext.read(script.with_suffix(".ipynb"))
    assert cells(notebook) == cells(jupytext.read(script))
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)


@pytest.mark.slow
def test_every_source_is_accounted_for(executed):
    text = "".join(outputs(executed, "stdout"))
    line = re.search(r"(\d+) sources = (\d+) classified \+ (.*)", text)
    assert line, text
    n_by_reason = [int(n) for n in re.findall(r"(\d+) \w+", line[3])]
    assert int(line[1]) == 400 == int(line[2]) + sum(n_by_reason)
    assert text.rstrip().endswith("True")


@pytest.mark.slow
def test_draws_its_figures_and_complains_of_nothing(executed):
    assert len(list(outputs(executed, "image/png"))) == 3
    assert list(outputs(executed, "stderr")) == []


@pytest.mark.slow
def test_five_lines_make_a_network_that_is_worth_something(trained):
    text = "".join(outputs(trained, "stdout"))
    assert "started from perseus-synthetic.safetensors" in text
    assert re.search(r"200 rows = \d+ classified \+ 1 bad_image .*\b1 no_image", text), text
    reached, trivial = re.search(r"other field: (.*)\n.*nonmember': +(.*)", text).groups()
    assert float(reached) > float(trivial)
    assert len(list(outputs(trained, "image/png"))) == 1
    assert list(outputs(trained, "stderr")) == []
    (recipe,) = (cell.source for cell in trained.cells if "recipe.write_text" in cell.source)
    assert len(re.search(r'"""\\\n(.*)"""', recipe, re.DOTALL)[1].splitlines()) == 5
