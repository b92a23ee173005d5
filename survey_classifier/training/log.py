"""The log of a training: a CSV with a row an epoch.

Owns the file and the count of finished epochs. Does not own what is reported (``optimize``).
"""

import csv
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from survey_classifier.errors import RunError
from survey_classifier.training.state import EpochReport

__all__ = ["LOG_HEADER", "Log", "Progress", "opened_log"]

LOG_HEADER = ("fit", "epoch", "loss", "rate", "seconds")

Progress = Callable[[int, int], None]
"""Called with the number of finished epochs and of all, over all fits."""

Log = Callable[[str, EpochReport], None]
"""Called with the name of the fit and the report of each of its epochs."""


@contextmanager
def opened_log(path: Path | None, n_epoch: int, progress: Progress | None) -> Iterator[Log]:
    """Give what writes the log and reports progress, and close the log in the end.

    Parameters
    ----------
    path
        The file; one that is there is replaced when the first epoch is reported, so that a
        training that is refused leaves it. A training that goes on writes again what was done
        before. None in processes that do not lead: nothing is written or reported.
    n_epoch
        Epochs of all fits.
    progress
        Called after each.

    Raises
    ------
    RunError
        From what is given, if the file can't be written.
    """
    if path is None:
        yield lambda _name, _epoch: None
        return
    n_done = 0
    with ExitStack() as stack:
        file: TextIO | None = None

        def log(name: str, epoch: EpochReport) -> None:
            nonlocal n_done, file
            loss, rate, seconds = f"{epoch.loss:.5f}", f"{epoch.rate:.3e}", f"{epoch.seconds:.1f}"
            try:
                if file is None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    file = stack.enter_context(path.open("w", newline="", encoding="utf-8"))
                    csv.writer(file, lineterminator="\n").writerow(LOG_HEADER)
                row = [name, epoch.epoch, loss, rate, seconds]
                csv.writer(file, lineterminator="\n").writerow(row)
                file.flush()  # a training takes long: its log is read while it grows
            except OSError as error:
                raise RunError(
                    f"{path} can't be written ({error.strerror}); change 'out'"
                ) from error
            n_done += 1
            if progress is not None:
                progress(n_done, n_epoch)

        yield log
