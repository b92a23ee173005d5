"""Plurals in messages."""

import pytest

from survey_classifier.words import are, counted


@pytest.mark.parametrize(("n", "text"), [(0, "0 tiles are"), (1, "1 tile is"), (2, "2 tiles are")])
def test_a_number_has_its_noun_and_verb(n, text):
    assert f"{counted(n, 'tile')} {are(n)}" == text
