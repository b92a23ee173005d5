"""The verbs ``plan``, ``classify``, ``status`` and ``publish``: a run.

Owns their options. Does not own what they do (``run``).
"""

from pathlib import Path
from typing import Annotated

import typer

from survey_classifier.cli.results import classify_and_show, show_result
from survey_classifier.cli.terminal import Cluster, Out, RunFile, app, bars
from survey_classifier.errors import InputError
from survey_classifier.words import are, counted

__all__ = ["classify", "plan", "publish", "status"]


@app.command()
def plan(run: RunFile) -> None:
    """Say what a run will do, and check that it can, without doing it.

    Example: survey-classifier plan deploy/runs/perseus-west.toml
    """
    from survey_classifier.run.describe import describe

    for line in describe(run):
        typer.echo(line)


@app.command()
def classify(
    run: RunFile,
    cluster: Cluster = None,
    watch: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Go on as image files arrive in a folder."),
    ] = None,
    until_idle: Annotated[
        float | None, typer.Option(min=0, help="Stop to watch after so many quiet seconds.")
    ] = None,
    poll: Annotated[
        float | None,
        typer.Option(min=0.01, help="Seconds between two looks at it; 5 by default."),
    ] = None,
) -> None:
    """Classify every source: ingest what is missing, run, publish, report.

    A run that was stopped goes on where it was. What is missing is ingested by threads of this
    process, whatever the cluster; the verb ingest can do it on a cluster before.

    Example: survey-classifier classify deploy/runs/perseus-west.toml --cluster local
    """
    if watch is not None:
        _watch(run, watch, cluster, until_idle, poll)
    elif until_idle is not None or poll is not None:
        option = "--poll" if until_idle is None else "--until-idle"
        raise InputError(f"{option} is for --watch FOLDER: name the folder, or leave it out")
    else:
        classify_and_show(run, cluster)


def _watch(
    run: Path, folder: Path, cluster: str | None, until_idle: float | None, poll: float | None
) -> None:
    from survey_classifier.run.config import read_run
    from survey_classifier.run.watch import POLL_SECONDS
    from survey_classifier.run.watch import watch as run_watch

    config = read_run(run)
    with bars() as shown:
        end = run_watch(
            config, folder, cluster=cluster, until_idle_seconds=until_idle,
            poll_seconds=POLL_SECONDS if poll is None else poll, listener=shown,
        )  # fmt: skip
    for line in end.undone:
        typer.echo(f"left undone: {line}", err=True)
    if end.receipt is None:
        typer.echo("nothing could be classified", err=True)
    else:
        show_result(config.catalog_path, config.report_path, end.receipt.line)
    raise typer.Exit(end.exit_code)


@app.command()
def status(out: Out) -> None:
    """Say how far a run is.

    Example: survey-classifier status out/perseus-west
    """
    from survey_classifier.catalog.parts import done_parts
    from survey_classifier.run.plan import plan as run_plan

    laid_out = run_plan(_run_of(out))
    done = laid_out.done(done_parts(laid_out.config.parts_folder, laid_out.fingerprint))
    share = f"{len(done)} of {counted(len(laid_out.tiles), 'tile')}"
    typer.echo(f"{laid_out.config.name}: {share} {are(len(done))} finished")
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
    show_result(config.catalog_path, config.report_path, receipt.line)
    if receipt.exit_code:
        typer.echo("some tiles are not finished; classify goes on with them", err=True)
    raise typer.Exit(receipt.exit_code)


def _run_of(out: Path) -> Path:
    """Return the run file that a run left in its output folder."""
    path = out / "run.toml"
    if not path.exists():
        raise InputError(f"no run in {out} (there is no {path.name}); name a run's output folder")
    return path
