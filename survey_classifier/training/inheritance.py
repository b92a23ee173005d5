"""What a recipe takes from another: the key ``extends``.

Owns where the recipes are that come with the package, and which keys of one are the defaults of
another. Does not own the keys (``recipes``, ``fit_settings``).
"""

import sysconfig
from pathlib import Path
from typing import Any

from survey_classifier.errors import ConfigError
from survey_classifier.problems import nearest_name
from survey_classifier.settings import expand_path, read_toml

__all__ = ["read_with_defaults", "shipped_recipes"]

_INSTALLED = "share/survey-classifier/recipes"
OWN = ("name", "description", "out")
"""What tells one recipe from another is not taken over."""
MERGED = ("network", "stamps", "labels", "split", "fit")
"""Tables whose keys are taken over one by one; of all else the nearer recipe has its way."""
PATHS = ("table", "store")
"""Keys of ``[[data]]`` that are relative to their own file."""


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes of networks that come with the package, by name.

    They are in the checkout's ``deploy/recipes/``, or where an installation put them.
    """
    checkout = Path(__file__).parents[2] / "deploy" / "recipes"
    folder = checkout if checkout.is_dir() else Path(sysconfig.get_path("data")) / _INSTALLED
    return {path.stem: path for path in sorted(folder.glob("*.toml")) if _is_recipe(path)}


def _is_recipe(path: Path) -> bool:
    """Say whether a file is of this kind: those of ``calibrate`` have no stretch."""
    content = read_toml(path)
    return "stretch" in content or "extends" in content


def read_with_defaults(path: Path) -> dict[str, Any]:
    """Return the content of a recipe, with what it does not say taken from those it extends.

    Parameters
    ----------
    path
        The recipe.

    Raises
    ------
    ConfigError
        If one is missing, is not TOML, or extends itself.
    """
    return _read(path, ())


def _read(path: Path, nearer: tuple[Path, ...]) -> dict[str, Any]:
    """Return the content of a recipe that others extend already."""
    if path.resolve() in nearer:
        raise ConfigError(f"{path} extends itself; correct 'extends'")
    content = read_toml(path)
    name = content.get("extends", "")
    if not isinstance(name, str):
        raise ConfigError(f"{path}: extends: a name or path is expected, got {name!r}")
    if not name:
        return content
    base_path = _named(name, path)
    base = _read(base_path, (*nearer, path.resolve()))
    replaced = {*OWN, *content} - {*MERGED}
    defaults = {key: value for key, value in base.items() if key not in replaced}
    _make_absolute(defaults, base_path.resolve().parent)
    merged = {key: defaults[key] | content[key] for key in MERGED if _both_tables(
        defaults.get(key), content.get(key))}  # fmt: skip
    return defaults | content | merged


def _named(name: str, path: Path) -> Path:
    """Return the file that ``extends`` means."""
    if name.endswith(".toml"):
        return expand_path(name, path.resolve().parent)
    shipped = shipped_recipes()
    if name not in shipped:
        raise ConfigError(
            f"{path}: no recipe {name!r} comes with the package (a path ends in .toml):"
            f" {nearest_name(name, set(shipped))}"
        )
    return shipped[name]


def _both_tables(*values: object) -> bool:
    return all(isinstance(value, dict) for value in values)


def _make_absolute(content: dict[str, Any], folder: Path) -> None:
    """Spell the paths of a recipe so that they hold in another folder, in place."""

    def spell(table: Any, *keys: str) -> None:  # noqa: ANN401 - TOML that nobody has checked yet
        for key in keys if isinstance(table, dict) else ():
            if isinstance(table.get(key), str) and table[key]:
                table[key] = str(expand_path(table[key], folder))

    data = content.get("data")
    for table in data if isinstance(data, list) else ():
        spell(table, *PATHS)
        spell(table.get("thumbnails") if isinstance(table, dict) else None, "path")
    fit = content.get("fit")
    if isinstance(fit, dict) and str(fit.get("start_from", "")).endswith(".safetensors"):
        spell(fit, "start_from")
