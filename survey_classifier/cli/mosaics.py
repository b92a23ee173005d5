"""The verbs ``ingest``, ``inspect`` and ``detect``: from images to mosaics and their sources.

Owns their options. Does not own what they do (``mosaic``, ``sources``, ``run``).
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from survey_classifier.cli.terminal import RunFile, app, bars
from survey_classifier.words import counted

__all__ = ["detect", "ingest", "inspect"]


@app.command()
def ingest(
    run: RunFile,
    cluster: Annotated[
        str | None,
        typer.Option(help="local or a scheduler's address; by default threads of this process."),
    ] = None,
) -> None:
    """Make the mosaics of a run from its image files; a second call goes on where one stopped.

    Workers of a cluster need the files and stores under the same paths, and no SCORER.

    Example: survey-classifier ingest deploy/runs/perseus-west.toml
    """
    from survey_classifier.run.classify import ingest as run_ingest

    with bars() as shown:
        done = run_ingest(run, cluster=cluster, listener=shown)
    for item in done:
        mosaic = item.mosaic
        names = ", ".join(f"{band.name} ({band.unit})" for band in mosaic.bands)
        size = " x ".join(str(side) for side in reversed(mosaic.shape))
        what = f"{size} px of {mosaic.scale_arcsec:.4g} arcsec, bands {names}"
        typer.echo(f"{mosaic.place}: {what}; {item.line}")


@app.command()
def inspect(
    store: Annotated[str, typer.Argument(metavar="STORE", help="Folder or URL of a mosaic.")],
    preview: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw the mosaic into this file.")
    ] = None,
    moc: Annotated[
        Path | None, typer.Option(metavar="FITS", help="Write its coverage map (MOC) there.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Read all of it, and name damaged files.")
    ] = False,
) -> None:
    """Say what a mosaic holds: bands, depth, footprint, flaws.

    Example: survey-classifier inspect out/demo/field/field.zarr --preview field.png
    """
    from survey_classifier.mosaic.footprint import write_moc
    from survey_classifier.mosaic.inspect import inspect as run_inspect
    from survey_classifier.mosaic.inspect import open_as_it_is
    from survey_classifier.mosaic.preview import color_words, write_preview
    from survey_classifier.mosaic.tables import describe

    if check:
        _check(store)
    mosaic = open_as_it_is(store)
    with bars() as shown:
        found = run_inspect(mosaic, shown.of("inspect"))
    # Rich would cut a table to the terminal's width; a line that is broken can still be read.
    terminal = Console(highlight=False, markup=False, width=200)
    for part in describe(found):
        terminal.print(part, soft_wrap=isinstance(part, str))
    if preview is not None:
        typer.echo(f"preview    {preview} ({color_words(write_preview(preview, mosaic))})")
    if moc is not None:
        write_moc(moc, found.cells, found.moc_order)
        cells = counted(len(found.cells), "cell")
        typer.echo(f"MOC        {moc} ({cells} of order {found.moc_order})")


def _check(store: str) -> None:
    """Name the damaged files of a mosaic, and fail if there is one."""
    from survey_classifier.mosaic.damage import damages, verdict
    from survey_classifier.mosaic.inspect import open_as_it_is

    mosaic = open_as_it_is(store, whole=False)
    with bars() as shown:
        found = list(damages(mosaic, shown.of("check")))
    for damage in found:
        typer.echo(f"damaged    {damage}")
    if found:
        raise verdict(mosaic, found)
    part = "" if mosaic.digest else " of the shards that are written"
    typer.echo(f"check      every file{part} is as it was written")


@app.command()
def detect(
    run: RunFile,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Put the list there too.")
    ] = None,
) -> None:
    """Find the sources on a run's mosaics, and measure them; ingest what is missing.

    A detection that was stopped goes on where it was.

    Example: survey-classifier detect out/demo/field/run.toml --out detected.parquet
    """
    from survey_classifier.run.detect import detect as run_detect

    with bars() as shown:
        path = run_detect(run, out=out, listener=shown)
    typer.echo(f"sources: {path}")
