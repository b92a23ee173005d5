"""The folder of an evaluation: it appears whole, and holds no picture of a former one.

Owns which files are an evaluation's, that nobody else's are harmed, and their replacement. Does
not own their content (``evaluate``).
"""

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from survey_classifier.errors import ConfigError
from survey_classifier.run.page import is_page_of_ours

__all__ = ["PAGE", "TITLE", "check_folder", "replaced_folder"]

PAGE = "evaluation.html"
TITLE = "evaluation of "
"""Begin of the page's title."""
TABLES = ("measures", "compared", "confusion", "curves", "reliability", "objects", "truth",
          "errors", "error-fifths")  # fmt: skip
PICTURES = ("curves", "reliability", "confusion", "by-magnitude", "color-pairs", "errors",
            "false-members", "missed-members", "bright-false-members",
            "bright-missed-members")  # fmt: skip
OURS = {
    *(PAGE, "evaluation.md"),
    *(f"{name}.parquet" for name in TABLES),
    *(f"{name}.png" for name in PICTURES),
}
"""Files that an evaluation may have; not each has all."""


def check_folder(out: Path, inputs: Iterable[Path]) -> None:
    """Refuse a folder that cannot be made or written to, and leave nothing there.

    Parameters
    ----------
    out
        The folder of an evaluation.
    inputs
        Files that are read.

    Raises
    ------
    ConfigError
        If it is none, may not be written to, or has files of an evaluation's names that are
        inputs or no evaluation's.
    """
    _require_nobodys(out, inputs)
    made = [path for path in (out, *out.parents) if not path.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out, prefix=".evaluation."):
            pass
    except OSError as error:
        reason = "it is a file" if out.is_file() else error.strerror
        raise ConfigError(f"--out cannot be {out} ({reason}); choose another folder") from error
    finally:
        for path in made:
            with suppress(OSError):
                path.rmdir()


def _require_nobodys(out: Path, inputs: Iterable[Path]) -> None:
    """Raise if something would be written over that is no former evaluation."""
    there = sorted(name for name in OURS if os.path.lexists(out / name))
    read = [path for path in inputs if path.exists()]
    for name in there:
        for path in read:
            if (out / name).exists() and path.samefile(out / name):
                raise ConfigError(
                    f"--out {out} would write over {path}, which is read; choose another folder"
                )
    if there and not is_page_of_ours(out / PAGE, TITLE):
        raise ConfigError(
            f"--out {out} has a file {there[0]} that is not known to be an evaluation's; choose "
            "another folder, or move the file away"
        )


@contextmanager
def replaced_folder(out: Path) -> Iterator[Path]:
    """Write an evaluation beside a former one; it takes its place when the block ends well.

    What a former evaluation wrote and this one does not is removed; files of others stay.

    Parameters
    ----------
    out
        The folder, as `check_folder` lets pass; it is made.

    Yields
    ------
    Path
        An empty folder, inside of it.

    Raises
    ------
    OSError
        If it cannot be written to.
    """
    out.mkdir(parents=True, exist_ok=True)
    new = out / f".evaluation.{uuid.uuid4().hex}.tmp"
    new.mkdir()
    try:
        yield new
        names = {path.name for path in new.iterdir()}
        for name in OURS - names:
            (out / name).unlink(missing_ok=True)
        # The page comes last: where it is, there is all that it tells of.
        for name in sorted(names, key=lambda name: name == PAGE):
            (new / name).replace(out / name)
    finally:
        shutil.rmtree(new, ignore_errors=True)
