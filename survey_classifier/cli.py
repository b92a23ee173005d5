"""The command line: verbs, bars and exit codes.

Owns how the verbs are called and how their progress and errors are shown. Does not own what
they do: each calls the function of the same name. Nothing heavy is imported before a verb runs.
"""

import sys
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

__all__ = ["app", "main"]

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
INTERRUPTED = 130
"""What typer makes of Ctrl-C."""

RunFile = Annotated[Path, typer.Argument(metavar="RUN", help="Run file (TOML).")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="Output folder of a run.")]
Cluster = Annotated[
    str | None,
    typer.Option(help="serial, local, cuda or a scheduler's address; overrides the run file."),
]


class Bars(Listener):
    """Shows each stage as a progress bar."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, object] = {}

    def progress(self, stage: str, done: int, total: int) -> None:
        """Draw a bar."""
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


SIZE_PX, N_SOURCES, SEED = 4096, 3000, 1


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything it makes.")] = Path("out/demo"),
    size_px: Annotated[
        int | None, typer.Option(min=256, help=f"Side of the field, {SIZE_PX} px by default.")
    ] = None,
    n_sources: Annotated[
        int | None, typer.Option(min=20, help=f"Sources in the list, {N_SOURCES} by default.")
    ] = None,
    cluster: Cluster = None,
) -> None:
    """Simulate a field and classify it: the whole way, without any data.

    A second call classifies the field that is there; finished tiles are not worked on again.

    Example: survey-classifier demo --out out/demo
    """
    field = out / "field"
    if not (field / "run.toml").exists():
        _simulate(field, size_px or SIZE_PX, n_sources or N_SOURCES, SEED)
    elif size_px is not None or n_sources is not None:
        raise InputError(
            f"{field} holds a field already; remove it to simulate another, or choose another --out"
        )
    _classify(field / "run.toml", cluster)


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to make.")],
    size_px: Annotated[int, typer.Option(min=256, help="Side of the field.")] = SIZE_PX,
    n_sources: Annotated[int, typer.Option(min=20, help="Sources in the list.")] = N_SOURCES,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = SEED,
) -> None:
    """Write a simulated cluster field: images, tables, its truth and a run file.

    Example: survey-classifier simulate out/field --seed 7
    """
    _simulate(out, size_px, n_sources, seed)
    typer.echo(f"run file: {out / 'run.toml'}")


def _simulate(folder: Path, size_px: int, n_sources: int, seed: int) -> None:
    from survey_classifier.synthetic.field import simulate as run

    with bars() as shown:
        run(folder, seed=seed, size_px=size_px, n_sources=n_sources, progress=shown.of("simulate"))


@app.command()
def ingest(run: RunFile) -> None:
    """Make the mosaic of a run from its image files; a second call goes on where one stopped.

    Example: survey-classifier ingest deploy/runs/perseus-west.toml
    """
    from survey_classifier.run.classify import ingest as run_ingest

    with bars() as shown:
        mosaic = run_ingest(run, listener=shown)
    names = ", ".join(f"{band.name} ({band.unit})" for band in mosaic.bands)
    ny, nx = mosaic.shape
    typer.echo(f"{mosaic.path}: {nx} x {ny} px of {mosaic.scale_arcsec:.4g} arcsec, bands {names}")


@app.command()
def plan(run: RunFile) -> None:
    """Say what a run will do, and check that it can, without doing it.

    Example: survey-classifier plan deploy/runs/perseus-west.toml
    """
    from survey_classifier.run.describe import describe

    for line in describe(run):
        typer.echo(line)


@app.command()
def classify(run: RunFile, cluster: Cluster = None) -> None:
    """Classify every source: ingest what is missing, run, publish, report.

    A run that was stopped goes on where it was.

    Example: survey-classifier classify deploy/runs/perseus-west.toml --cluster local
    """
    _classify(run, cluster)


def _classify(run: Path, cluster: str | None) -> None:
    from survey_classifier.run.classify import classify as run_classify
    from survey_classifier.run.config import read_run

    config = read_run(run)
    with bars() as shown:
        receipt = run_classify(config, cluster=cluster, listener=shown)
    _show(config.catalog_path, config.report_path, receipt.line)
    for failure in receipt.failures:
        typer.echo(f"failed: tile {failure.tile} in {failure.stage}: {failure.reason}", err=True)
    raise typer.Exit(receipt.exit_code)


def _show(catalog: Path, report: Path, line: str) -> None:
    """Print where the results are, and the sum that accounts for every source last."""
    typer.echo(f"catalog: {catalog}")
    typer.echo(f"report:  {report}")
    typer.echo(line)


@app.command()
def status(out: Out) -> None:
    """Say how far a run is.

    Example: survey-classifier status out/perseus-west
    """
    from survey_classifier.catalog.parts import done_parts
    from survey_classifier.run.plan import plan as run_plan

    laid_out = run_plan(_run_of(out))
    done = done_parts(laid_out.config.parts_folder, laid_out.fingerprint)
    n_tiles = len(laid_out.rows_of_tile)
    typer.echo(f"{laid_out.config.name}: {len(done)} of {n_tiles} tiles are finished")
    catalog = laid_out.config.catalog_path
    typer.echo(f"catalog: {catalog if catalog.exists() else 'not published yet'}")


@app.command()
def publish(out: Out) -> None:
    """Publish and report what is finished; sources of unfinished tiles have status tile_failed.

    Example: survey-classifier publish out/perseus-west
    """
    from survey_classifier.run.classify import publish as run_publish
    from survey_classifier.run.config import read_run

    config = read_run(_run_of(out))
    receipt = run_publish(config)
    _show(config.catalog_path, config.report_path, receipt.line)
    if receipt.exit_code:
        typer.echo("some tiles are not finished; classify goes on with them", err=True)
    raise typer.Exit(receipt.exit_code)


def _run_of(out: Path) -> Path:
    """Return the run file that a run left in its output folder."""
    path = out / "run.toml"
    if not path.exists():
        raise InputError(f"no run in {out} (there is no {path.name}); name a run's output folder")
    return path


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe (TOML).")],
) -> None:
    """Train a network on labeled stamps and write its checkpoint.

    Example: survey-classifier train deploy/recipes/perseus-sdss.toml
    """
    from survey_classifier.training.fit import train as run_train

    with bars() as shown:
        checkpoint = run_train(recipe, shown.of("train"))
    typer.echo(f"checkpoint: {checkpoint}")


if __name__ == "__main__":
    main()
