"""The house rules that can be checked: who imports whom, and where heavy packages live."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "survey_classifier"
ROOMS = [
    "words", "errors", "problems", "settings", "files", "geometry", "mosaic", "sources", "stamps",
    "images", "model", "membership", "catalog", "run", "training", "synthetic", "cli",
]  # fmt: skip
HEAVY = {
    "torch": ("model", "training"),
    "zarr": ("mosaic",),
    "obstore": ("mosaic",),
    "mocpy": ("mosaic/footprint.py",),
    "astropy.wcs": ("mosaic",),
    "pyvo": ("sources/services.py",),
    "astroquery": ("sources/services.py",),
    "pyarrow": ("sources", "catalog", "run/rows.py", "run/tile.py"),
    "dask": ("run/cluster.py", "run/graph.py", "run/monitor.py"),
    "distributed": ("run/cluster.py", "run/graph.py", "run/monitor.py"),
    "bokeh": ("run/monitor.py", "run/survey_page.py"),
    "matplotlib": (
        "run/figures.py",
        "run/sequence_figure.py",
        "run/explanation_figure.py",
        "training/evaluation/",
    ),
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path):
    """Every module that a file imports, also within functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path):
    return Path(path).relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_from_rooms_above(path):
    room = room_of(path)
    if room == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "survey_classifier" and len(parts) > 1 and parts[1] in ROOMS:
            assert ROOMS.index(parts[1]) <= ROOMS.index(room), f"{room} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_packages_stay_in_their_rooms(path):
    where = str(path.relative_to(PACKAGE))
    for name in imports(path):
        for package, rooms in HEAVY.items():
            if name == package or name.startswith(f"{package}."):
                assert where.startswith(rooms), f"{where} imports {name}"


def test_there_are_no_rooms_without_a_name():
    names = {path.stem for path in MODULES}
    assert not names & {"utils", "common", "core", "base", "helpers"}


@pytest.mark.parametrize("statement", ["import survey_classifier", "import survey_classifier.cli"])
def test_importing_loads_neither_torch_nor_dask(statement):
    code = f"{statement}\nimport sys\nprint({{'torch', 'dask', 'pandas'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_public_names_exist():
    import survey_classifier

    assert list(survey_classifier.__all__) == sorted(survey_classifier.__all__)
    for name in survey_classifier.__all__:
        assert getattr(survey_classifier, name) is not None
