"""The terminal: the application that verbs belong to, bars, one-line errors and exit codes.

Owns how progress and errors are shown. Does not own any verb.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from survey_classifier import __version__
from survey_classifier.errors import InputError, SurveyClassifierError
from survey_classifier.run.listener import Listener

__all__ = ["Bars", "Cluster", "Out", "RunFile", "app", "bars", "main"]

app = typer.Typer(
    name="survey-classifier",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Galaxy-cluster membership for every source of a survey field.",
    epilog="Begin with:  survey-classifier demo",
)
console = Console(stderr=True)
SECONDS_BETWEEN_LINES = 30.0
"""Of a stage's progress in a log."""
INTERRUPTED = 130
"""What typer makes of Ctrl-C."""

RunFile = Annotated[Path, typer.Argument(metavar="RUN", help="Run file (TOML).")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="Output folder of a run.")]
Cluster = Annotated[
    str | None,
    typer.Option(help="serial, local, cuda or a scheduler's address; overrides the run file."),
]


class Bars(Listener):
    """Shows each stage as a progress bar; in a log, where none moves, as a line now and then."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, object] = {}
        self._lines: dict[str, float] = {}

    def progress(self, stage: str, done: int, total: int) -> None:
        """Draw a bar, or print a line if the last one was a while ago."""
        if not self._progress.console.is_terminal:
            now = time.monotonic()
            if now - self._lines.setdefault(stage, now) >= SECONDS_BETWEEN_LINES:
                self._lines[stage] = now
                self.say(f"{stage}: {done} of {total}")
            return
        self._progress.start()  # not before: an empty bar would still print a line
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total)
        self._progress.update(self._tasks[stage], completed=done, total=total)  # type: ignore[arg-type]

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(line, highlight=False, soft_wrap=True)

    def of(self, stage: str) -> Callable[[int, int], None]:
        """Return a callback that draws one stage's bar."""
        return lambda done, total: self.progress(stage, done, total)


@contextmanager
def bars() -> Iterator[Bars]:
    """Show progress bars on the terminal while a block runs."""
    columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn(elapsed_when_finished=True))  # fmt: skip
    progress = Progress(*columns, console=console)
    try:
        yield Bars(progress)
    finally:
        if progress.live.is_started:
            progress.stop()


def main() -> None:
    """Run the command line; problems become one line and an exit code."""
    try:
        # Not standalone: typer would end on Ctrl-C without a word.
        code = app(standalone_mode=False)
    except SurveyClassifierError as error:
        _fail(" ".join(str(error).split()), error.exit_code)
    except typer.TyperException as error:
        _fail(f"{error.format_message().rstrip(chr(46))}; see --help", InputError.exit_code)
    if code == INTERRUPTED:
        _fail("stopped; run it again to go on", INTERRUPTED)
    sys.exit(code)


def _fail(line: str, exit_code: int) -> NoReturn:
    """Print the one line that says what went wrong, and stop."""
    print(f"survey-classifier: {line}", file=sys.stderr)  # noqa: T201
    sys.exit(exit_code)


def _version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Take the options that stand before a verb."""
