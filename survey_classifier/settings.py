"""Settings files: TOML into typed, frozen values, with every unknown key refused.

Owns reading a TOML file, the form of its errors and the expansion of paths. Does not own any
key: each room declares its own settings as a `Settings` subclass.
"""

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from survey_classifier.errors import ConfigError

__all__ = [
    "Settings",
    "expand_path",
    "nearest_name",
    "parse_settings",
    "read_settings",
    "read_shipped",
    "read_toml",
]

MAX_SHOWN = 20
"""Names that an error lists; a table may have hundreds of columns."""
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


class Settings(BaseModel):
    """Base of all settings: frozen, and no key that is not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


AnySettings = TypeVar("AnySettings", bound=Settings)


def read_settings(path: Path, model: type[AnySettings]) -> AnySettings:
    """Read a TOML file into a settings model.

    Parameters
    ----------
    path
        The file.
    model
        What it must hold.

    Raises
    ------
    ConfigError
        If the file is missing, is not TOML, or a key or value is wrong; one line, with the
        nearest known key for an unknown one.
    """
    return parse_settings(read_toml(path), path, model)


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises
    ------
    ConfigError
        If the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no such file: {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def parse_settings(content: dict[str, Any], path: Path, model: type[AnySettings]) -> AnySettings:
    """Return a settings model from a TOML file's content.

    Parameters
    ----------
    content
        The content.
    path
        The file, for the message.
    model
        What it must hold.

    Raises
    ------
    ConfigError
        If a key or value is wrong.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first_problem(error, model)}") from error


def read_shipped(
    name: str | Path, model: type[AnySettings], shipped: Path, unknown: str
) -> AnySettings:
    """Return what a file.toml holds, or the file of that name that comes with the package.

    Parameters
    ----------
    name
        A path that ends in .toml or has a folder, or else a name.
    model
        What it must hold.
    shipped
        Folder of the files that come with the package.
    unknown
        What is said of a name that is none of these, before the names that there are.

    Raises
    ------
    ConfigError
        If there is no such file, or it is not valid.
    """
    path = Path(name)
    if path.suffix == ".toml" or path.parent != Path():
        return read_settings(path, model)
    known = {file.stem: file for file in shipped.glob("*.toml")}
    if str(name) not in known:
        raise ConfigError(f"{unknown}; {nearest_name(str(name), set(known))}")
    return read_settings(known[str(name)], model)


def _first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    """Say the first problem of a validation, in a line."""
    problems = error.errors()
    # A misspelt key is often also a missing one; its spelling is what to mend.
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _keys(model, problem["loc"][:-1])
        return f"unknown key {where!r}; {nearest_name(str(problem['loc'][-1]), known)}"
    if problem["type"] == "missing":
        return f"the key {where!r} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    # A model's own check names its value; pydantic's says only what was expected.
    value = "" if problem["type"] == "value_error" else f", got {problem['input']!r}"
    return f"{where}: {message}{value}" if where else f"{message}{value}"


def _keys(model: Any, where: tuple[int | str, ...]) -> set[str]:  # noqa: ANN401 - annotations
    """Return the keys of the table at a place within a model."""
    if not where:
        own = set(getattr(model, "model_fields", {}))
        return own.union(*(_keys(part, ()) for part in getattr(model, "__args__", ())))
    if isinstance(where[0], str) and hasattr(model, "model_fields"):
        field = model.model_fields.get(where[0])
        return _keys(field.annotation, where[1:]) if field else set()
    # A number steps into a list; a union or tuple is stepped through.
    rest = where[1:] if isinstance(where[0], int) else where
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
    lower = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), sorted(lower), n=1, cutoff=0.5)
    if near:
        return f"did you mean {lower[near[0]]!r}?"
    shown = sorted(known)[:MAX_SHOWN]
    return f"known are {', '.join(shown)}{', ...' if len(known) > MAX_SHOWN else ''}"


def expand_path(text: str, folder: Path) -> Path:
    """Return an absolute path from one written in a settings file.

    Parameters
    ----------
    text
        A path, relative to the file's folder; ``${NAME}`` and ``${NAME:-default}`` are taken
        from the environment and ``~`` is the home folder.
    folder
        Folder of the settings file.

    Raises
    ------
    ConfigError
        If a variable without a default is not set.
    """

    def value(match: re.Match[str]) -> str:
        name, default = match.groups()
        found = os.environ.get(name) or default
        if found is None:
            raise ConfigError(f"the path {text!r} needs the environment variable {name}; set it")
        return found

    return (folder / Path(_VARIABLE.sub(value, text)).expanduser()).resolve()
