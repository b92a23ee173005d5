"""Settings files: TOML into typed, frozen values, with every unknown key refused.

Owns reading a TOML file and the expansion of paths. Does not own any key, as each room declares its
own settings as a `Settings` subclass, nor what is said of a wrong one (``problems``).
"""

import os
import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from survey_classifier.errors import ConfigError
from survey_classifier.problems import first_problem, nearest_name

__all__ = [
    "Settings",
    "expand_path",
    "parse_settings",
    "read_settings",
    "read_shipped",
    "read_toml",
]

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
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text in UTF-8: {error.reason}; save it as such") from error
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
        raise ConfigError(f"{path}: {first_problem(error, model, content)}") from error


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
