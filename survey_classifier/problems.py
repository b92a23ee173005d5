"""What is said of a wrong key or value: a line with its place, the value and the remedy.

Owns the words for what a validation finds, the spelling of places as TOML has them, and the nearest
of known names. Does not own any key, nor the reading of files (``settings``).
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from survey_classifier.words import counted

__all__ = ["first_problem", "nearest_name"]

MAX_NAMES_SHOWN = 20
"""A table may have hundreds of columns."""
MAX_VALUE_SHOWN = 80
"""Characters."""
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
NEAR = 0.6
"""Likeness, as ``difflib`` has it, of two names of which one may be meant by the other."""

WORDS = {
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "finite_number": "a finite number",
    "literal_error": "{expected}",
    "string_type": "a text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "tuple_type": "a list",
    "list_type": "a list",
}
"""What a value must be, by pydantic's type of the problem."""
LENGTHS = {
    "too_short": ("at least", "min_length", "item"),
    "too_long": ("at most", "max_length", "item"),
    "string_too_short": ("at least", "min_length", "character"),
    "string_too_long": ("at most", "max_length", "character"),
}
"""What it must have: a bound, where pydantic says it, and of what."""

Place = tuple[int | str, ...]
"""Keys, and numbers in lists, from the outside in."""


def first_problem(error: ValidationError, model: type[BaseModel], content: object = None) -> str:
    """Say the first problem that a validation found, in a line.

    Parameters
    ----------
    error
        The validation's.
    model
        What was expected.
    content
        What was validated, such as what a TOML file holds. Without it places are pydantic's, with
        the names of a union's branches and numbers that count from 0.
    """
    problems = error.errors(include_url=False)
    # A misspelt key is often also a missing one; its spelling is what to mend.
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    place = _place(first, content)
    # Each branch of a union has its own problem; the branch that was meant got farthest.
    branches = [(_place(p, content), p) for p in problems]
    branches = [branch for branch in branches if branch[0][: len(place)] == place]
    place = max((place for place, _ in branches), key=len)
    same = [problem for other, problem in branches if other == place]
    problem = first if first in same else same[0]
    return _said(problem, same, place, content, model)


def _place(problem: ErrorDetails, content: object) -> Place:
    """Return where a problem is, without pydantic's names for the branches of a union."""
    if content is None:
        return problem["loc"]
    place: list[int | str] = []
    for number, part in enumerate(problem["loc"], 1):
        is_missing = problem["type"] == "missing" and number == len(problem["loc"])
        if is_missing or _holds(content, part):
            place.append(part)
            content = None if is_missing else content[part]  # type: ignore[index]
    return tuple(place)


def _holds(content: object, part: int | str) -> bool:
    """Return whether there is something at a key, or a number."""
    if isinstance(content, Mapping):
        return part in content
    return isinstance(content, list | tuple) and isinstance(part, int) and part < len(content)


def _said(
    problem: ErrorDetails,
    same: Sequence[ErrorDetails],
    place: Place,
    content: object,
    model: type[BaseModel],
) -> str:
    """Return the line on a problem; ``same`` are those of all branches at its place."""
    kind, (table, key) = problem["type"], _spelled(place, content)
    if kind == "extra_forbidden":
        remedy = nearest_name(str(place[-1]), _keys(model, place[:-1]))
        return f"{table}unknown key {key!r}; {remedy}"
    got = f", got {_shown(problem['input'])}"
    if kind == "missing" and isinstance(place[-1], str):
        return f"{table}the key {key!r} is missing"
    if kind == "missing":  # an entry of a list of fixed length
        return f"{table}{key} lacks entries{got}"
    if kind in WORDS:
        words = dict.fromkeys(_wanted(p) for p in same if p["type"] in WORDS)
        return f"{table}{key} must be {' or '.join(words)}{got}{_remedy(problem, place, model)}"
    if kind in LENGTHS:
        bound, length, noun = LENGTHS[kind]
        wanted = f"{bound} {counted(problem['ctx'][length], noun)}"
        return f"{table}{key} must have {wanted}{got}{_remedy(problem, place, model)}"
    message = problem["msg"].removeprefix("Value error, ")
    # A model's own check names its value; pydantic's says only what was expected.
    message = message if kind == "value_error" else message + got
    return f"{table}{key}: {message}" if key else f"{table}{message}"


def _wanted(problem: ErrorDetails) -> str:
    """Return what a value must be."""
    bounds = problem.get("ctx", {}).items()
    return WORDS[problem["type"]].format(
        **{name: f"{bound:g}" if isinstance(bound, float) else bound for name, bound in bounds}
    )


def _remedy(problem: ErrorDetails, place: Place, model: type[BaseModel]) -> str:
    """Return what to write instead, where that can be known."""
    ctx, given = problem.get("ctx", {}), problem["input"]
    if problem["type"] == "literal_error" and isinstance(given, str):
        near = _nearest(given, re.findall(r"'([^']*)'", ctx["expected"]))
        return f"; did you mean {near!r}?" if near else ""
    is_list = problem["type"] in ("tuple_type", "list_type") or ctx.get("field_type") == "Tuple"
    if is_list and _keys(model, (*place, 0)):
        return f"; write [[{'.'.join(map(str, place))}]]"
    return ""


def _spelled(place: Place, content: object) -> tuple[str, str]:
    """Return which table of a list of tables a place is in, and its key there.

    Such as ``[[data]] 2:`` and ``columns.id``. Numbers of a list's plain entries are left out, as
    the value is shown.
    """
    table, keys = "", list[str]()
    for part in place:
        if isinstance(part, str):
            keys.append(part if BARE_KEY.fullmatch(part) else f'"{part}"')
        elif content is None:
            keys.append(str(part))
        inner = content[part] if _holds(content, part) else None  # type: ignore[index]
        if isinstance(part, int) and isinstance(inner, Mapping):
            number = f" {part + 1}" if len(content) > 1 else ""  # type: ignore[arg-type]
            table, keys = f"{table}[[{'.'.join(keys)}]]{number}: ", []
        content = inner
    return table, ".".join(keys)


def _shown(value: object) -> str:
    """Return a value as a TOML file has it, as far as that is a line."""
    if isinstance(value, bool):
        return str(value).lower()
    text = " ".join(repr(value).split())
    return text if len(text) <= MAX_VALUE_SHOWN else f"{text[:MAX_VALUE_SHOWN]}..."


def _keys(model: Any, where: Place) -> set[str]:  # noqa: ANN401 - annotations
    """Return the keys of the table at a place within a model."""
    if not where:
        own = set(getattr(model, "model_fields", {}))
        return own.union(*(_keys(part, ()) for part in getattr(model, "__args__", ())))
    if isinstance(where[0], str) and hasattr(model, "model_fields"):
        field = model.model_fields.get(where[0])
        return _keys(field.annotation, where[1:]) if field else set()
    # A number steps into a list, a key into a table of any; a union is stepped through.
    is_step = isinstance(where[0], int) or get_origin(model) is dict
    rest = where[1:] if is_step else where
    return set().union(*(_keys(part, rest) for part in getattr(model, "__args__", ())))


def nearest_name(name: str, known: set[str]) -> str:
    """Return a remedy for an unknown name: the nearest known one, or all of them.

    Parameters
    ----------
    name
        What was given.
    known
        What there is.
    """
    near = _nearest(name, known)
    if near is not None:
        return f"did you mean {near!r}?"
    shown = sorted(known)[:MAX_NAMES_SHOWN]
    return f"known are {', '.join(shown)}{', ...' if len(known) > MAX_NAMES_SHOWN else ''}"


def _nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that may have been meant, None if there is none."""
    lower = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), sorted(lower), n=1, cutoff=NEAR)
    return lower[near[0]] if near else None
