"""The folder of an evaluation: it appears whole, and holds no picture of a former one.

Owns which files are an evaluation's, and their replacement. Does not own their content
(``evaluate``).
"""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from survey_classifier.errors import ConfigError

__all__ = ["PAGE", "check_folder", "replaced_folder"]

PAGE = "evaluation.html"
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


def check_folder(out: Path) -> None:
    """Refuse a folder that cannot be made or written to, and leave nothing there.

    Parameters
    ----------
    out
        The folder of an evaluation.

    Raises
    ------
    ConfigError
        If it is none, or may not be written to.
    """
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


@contextmanager
def replaced_folder(out: Path) -> Iterator[Path]:
    """Write an evaluation beside a former one; it takes its place when the block ends well.

    What a former evaluation wrote and this one does not is removed; files of others stay.

    Parameters
    ----------
    out
        The folder; it is made.

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
        # Without a page what has such a name is not known to be an evaluation's.
        for name in OURS - names if (out / PAGE).exists() else ():
            (out / name).unlink(missing_ok=True)
        # The page comes last: where it is, there is all that it tells of.
        for name in sorted(names, key=lambda name: name == PAGE):
            (new / name).replace(out / name)
    finally:
        shutil.rmtree(new, ignore_errors=True)
