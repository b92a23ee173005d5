"""Patterns of places: which files and stores fit them, and what their words stand for.

Owns words in braces, wildcards and how either is looked up, on this machine and in a bucket. Does
not own which pattern is of what (``inputs``).
"""

import fnmatch
import glob
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from survey_classifier.errors import MosaicError
from survey_classifier.mosaic.place import ROOT, Place

__all__ = ["WORD", "fitting_files", "fitting_stores", "made_stores"]

WORD = re.compile(r"\{(\w+)\}")
"""A word in braces in a path."""
ANY_TEXT = "?*"
"""What a word is to the file system. Two stars in a row, of words side by side, would be any
folders."""
ANY_FOLDERS = re.compile(r"(?<=/)\*\*/")


def fitting_files(pattern: str) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """Yield the files that a pattern fits, with what its words stand for.

    Parameters
    ----------
    pattern
        An absolute path, which may have words, wildcards and ``**``. A word that stands twice
        must stand for the same text.

    Raises
    ------
    MosaicError
        If a file is found whose words cannot be told.
    """
    found = sorted(glob.glob(WORD.sub(ANY_TEXT, pattern), recursive=True))  # noqa: PTH207 - absolute
    if not found and Path(pattern).exists():
        found = [pattern]  # a name with a character that a pattern gives another meaning
    words = WORD.findall(pattern)
    expression = _expression(pattern, _wildcards)
    for file in found:
        match = expression.fullmatch(file)
        if match is not None or file == pattern:
            yield Path(file), match.groupdict() if match is not None else {}
        elif len(words) == len(set(words)):
            raise MosaicError(
                f"cannot tell what the words of path = {pattern!r} stand for in {file}; "
                "mend the path, or rename the file"
            )


def fitting_stores(pattern: str) -> list[str]:
    """Return the places that a place or a pattern of places names.

    Parameters
    ----------
    pattern
        An absolute path, of which those that are there are returned; or a URL, which is returned
        as it is unless it has a wildcard.

    Raises
    ------
    MosaicError
        If a bucket does not answer, or a URL has wildcards that cannot be looked up.
    """
    if "://" not in pattern:
        return [str(Path(found)) for found in glob.glob(pattern, recursive=True)]  # noqa: PTH207
    scheme, _, rest = pattern.partition("://")
    host, *parts = rest.split("/")
    if "*" not in pattern and (scheme.startswith("http") or not glob.has_magic(pattern)):
        return [pattern]
    if not Place.of(pattern).can_list or "**" in parts or glob.has_magic(host):
        raise MosaicError(
            f"{pattern}: in a URL * stands for the name of a folder of an s3:// or gs:// bucket, "
            "and ** for nothing; name each store"
        )
    found = [f"{scheme}://{host}"]
    for part in parts:
        if glob.has_magic(part):
            found = [f"{at}/{name}" for at in found for name in sorted(Place.of(at).names())
                     if fnmatch.fnmatchcase(name, part)]  # fmt: skip
        else:
            found = [f"{at}/{part}" for at in found]
    return found


def made_stores(template: str) -> list[str]:
    """Return the stores that are there, finished or not, of a name with words.

    Parameters
    ----------
    template
        An absolute path or a URL; without words there is at most one.

    Raises
    ------
    MosaicError
        If a bucket does not answer.
    """
    expression = _expression(template, re.escape)
    pieces = WORD.split(template)[::2]
    pattern = ANY_TEXT.join(glob.escape(piece) for piece in pieces)
    return [place for place in fitting_stores(pattern)
            if expression.fullmatch(place) and Place.of(place).has(ROOT)]  # fmt: skip


def _expression(pattern: str, translated: Callable[[str], str]) -> re.Pattern[str]:
    """Return the regular expression of a pattern, its words as named groups."""
    pieces: list[str] = []
    seen: set[str] = set()
    for index, piece in enumerate(WORD.split(pattern)):
        if index % 2 == 0:
            pieces.append(translated(piece))
        else:
            pieces.append(f"(?P={piece})" if piece in seen else f"(?P<{piece}>[^/]+?)")
            seen.add(piece)
    return re.compile("".join(pieces))


def _wildcards(piece: str) -> str:
    """Return the regular expression of what stands between words; ``**/`` may be no folder."""
    return "(?:.*/)?".join(
        re.sub(r"^\(\?s:(.*)\)\\[zZ]$", r"(?s:\1)", fnmatch.translate(part))
        for part in ANY_FOLDERS.split(piece)
    )
