import re
import warnings
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext", reason="install survey-classifier[notebooks]")
nbclient = pytest.importorskip("nbclient", reason="install survey-classifier[notebooks]")

SCRIPTS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.py"))


def cells(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook after all of its cells ran in a fresh kernel."""
    (script,) = SCRIPTS
    notebook = jupytext.read(script)
    folder = tmp_path_factory.mktemp("notebook")
    with warnings.catch_warnings():
        # What the kernel's client warns of is no concern of ours; an error in a cell raises.
        warnings.simplefilter("ignore")
        client = nbclient.NotebookClient(
            notebook, timeout=300, resources={"metadata": {"path": str(folder)}}
        )
        client.execute()
    return notebook


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
