"""Fixtures that several rooms share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

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
