"""What is said of wrong keys and values: in our words, with the place as TOML has it."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from survey_classifier.errors import ConfigError
from survey_classifier.problems import first_problem, nearest_name
from survey_classifier.settings import parse_settings
from survey_classifier.training.recipes import Recipe
from tests.labeled_field import RECIPE


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["ra", "dec"] = "ra"
    size: Annotated[int, Field(ge=1, le=20)] = 1

    @model_validator(mode="after")
    def _sound(self) -> "Inner":
        if self.size == 13:
            raise ValueError("size 13 is unlucky")
        return self


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    is_on: bool = False
    names: Annotated[tuple[str, ...], Field(max_length=2)] = ()
    text: Annotated[str, Field(min_length=1)] = "x"
    place: tuple[float, float] = (0.0, 0.0)
    inner: Inner = Inner()
    data: Annotated[tuple[Inner, ...], Field(min_length=1)] = (Inner(),)
    values: dict[str, str | int | float] = Field(default_factory=dict)
    sums: dict[str, tuple[str, ...] | dict[str, float]] = Field(default_factory=dict)
    tables: dict[str, Inner] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("share = 1.0", "share must be less than 1, got 1.0"),
        ("share = nan", "share must be less than 1, got nan"),
        ('share = "x"', "share must be a number, got 'x'"),
        ('is_on = "perhaps"', "is_on must be true or false, got 'perhaps'"),
        ("text = true", "text must be a text, got true"),
        ('text = ""', "text must have at least 1 character, got ''"),
        ('names = "a"', "names must be a list, got 'a'"),
        ('names = ["a", 3]', "names must be a text, got 3"),
        ('names = ["a", "b", "c"]', "names must have at most 2 items, got ['a', 'b', 'c']"),
        ("place = [1.0]", "place lacks entries, got [1.0]"),
        ("inner = 3", "inner must be a table, got 3"),
        ("inner.size = 0", "inner.size must be at least 1, got 0"),
        ("inner.size = 2.5", "inner.size must be a whole number, got 2.5"),
        ("inner.size = 13", "inner: size 13 is unlucky"),
        ('inner.kind = "Ra"', "inner.kind must be 'ra' or 'dec', got 'Ra'; did you mean 'ra'?"),
        ("inner.kind = 3", "inner.kind must be 'ra' or 'dec', got 3"),
        ("inner.sise = 3", "unknown key 'inner.sise'; did you mean 'size'?"),
        ("data = []", "data must have at least 1 item, got []; write [[data]]"),
        ("[data]\nsize = 3", "data must be a list, got {'size': 3}; write [[data]]"),
        ("[[data]]\nsize = 30", "[[data]]: size must be at most 20, got 30"),
        ("[[data]]\n[[data]]\nsize = 30", "[[data]] 2: size must be at most 20, got 30"),
        ("[[data]]\nother = 1", "[[data]]: unknown key 'other'; known are kind, size"),
        ("[[data]]\nsize = 13", "[[data]]: size 13 is unlucky"),
        (
            'values = { "a.b" = [1] }',
            'values."a.b" must be a text or a whole number or a number, got [1]',
        ),
        ("sums = { x = 3 }", "sums.x must be a list or a table, got 3"),
        ('sums = { x = { k = "q" } }', "sums.x.k must be a number, got 'q'"),
        ("sums = { x = [3] }", "sums.x must be a text, got 3"),
        ("tables = { x = { sise = 1 } }", "unknown key 'tables.x.sise'; did you mean 'size'?"),
    ],
)
def test_a_problem_is_said_in_our_words(toml: str, said: str) -> None:
    content = tomllib.loads(toml)
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(content)
    assert first_problem(caught.value, Outer, content) == said


def test_a_misspelt_key_goes_before_a_missing_one() -> None:
    with pytest.raises(ConfigError, match=r"x\.toml: unknown key 'nam'; did you mean 'name'\?"):
        parse_settings({"nam": "x"}, Path("x.toml"), Recipe)


def test_without_the_content_places_are_those_of_pydantic() -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"names": ["a", 3]})
    assert first_problem(caught.value, Outer) == "names.1 must be a text, got 3"


def test_a_long_value_is_cut() -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"inner": "\n" * 10_000})
    assert len(first_problem(caught.value, Outer, {"inner": "\n" * 10_000})) < 150


def leaves(content: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of each value, and of each table, of a TOML file's content."""
    if place:
        yield place
    if isinstance(content, dict | list):
        keys = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in keys:
            yield from leaves(value, (*place, key))


def spoiled(place: tuple[Any, ...], value: object) -> dict[str, Any]:
    """Return the recipe with another value at a place."""
    copy: dict[str, Any] = tomllib.loads(RECIPE.format(out="o", epochs=3))
    table: Any = copy
    for key in place[:-1]:
        table = table[key]
    table[place[-1]] = value
    return copy


WRONG: list[Any] = [-1, 2.5, "no such", True, [], {}, [[]], {"a": {}}, float("nan")]


def test_no_wrong_value_of_a_recipe_is_said_in_the_words_of_another() -> None:
    """Each value and table of a recipe, replaced by what it can't be."""
    content = tomllib.loads(RECIPE.format(out="o", epochs=3))
    n_refused = 0
    for place in leaves(content):
        for value in WRONG:
            try:
                parse_settings(spoiled(place, value), Path("x.toml"), Recipe)
            except ConfigError as error:
                line, n_refused = str(error), n_refused + 1
                key = [part for part in place if isinstance(part, str)][-1]
                assert "\n" not in line
                assert key in line, line
                for word in ("Input", "should", "ictionary", "uple", " valid "):
                    assert word not in line, line
    assert n_refused > 200


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Member", "did you mean 'member'?"),
        ("foo", "known are color, member"),
    ],
)
def test_only_what_is_alike_was_meant(name: str, said: str) -> None:
    assert nearest_name(name, {"color", "member"}) == said
