"""Fixtures that several rooms share."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from survey_classifier import cli

# What is fitted here is tiny: threads cost more than they bring, and on a machine that does other
# work, too, they wait for one another. Set before any torch is loaded; processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def real_data():
    """The folder of real images and tables; tests that need it are skipped, saying so."""
    default = REPOSITORY.parent / "shared" / "data"
    folder = Path(os.environ.get("SURVEY_CLASSIFIER_DATA", default))
    if not (folder / "perseus").is_dir():
        pytest.skip(f"no real data: set SURVEY_CLASSIFIER_DATA (looked in {folder})")
    return folder


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a command line; return exit code, output and error output."""

    def run_command(*words):
        monkeypatch.setattr(sys, "argv", ["survey-classifier", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        return stopped.value.code or 0, out, err

    return run_command
