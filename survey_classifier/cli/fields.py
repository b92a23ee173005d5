"""The verbs ``demo`` and ``simulate``: a field without any data.

Owns their options. Does not own the simulation (``synthetic``).
"""

from pathlib import Path
from typing import Annotated

import typer

from survey_classifier.cli.results import classify_and_show
from survey_classifier.cli.terminal import Cluster, app, bars
from survey_classifier.errors import InputError, once_written

__all__ = ["demo", "simulate"]


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
    is_new = not (field / "run.toml").exists()
    if is_new:
        _simulate(field, size_px or SIZE_PX, n_sources or N_SOURCES, SEED)
    elif size_px is not None or n_sources is not None:
        raise InputError(
            f"{field} holds a field already; remove it to simulate another, or choose another --out"
        )
    with once_written(lambda: is_new):
        classify_and_show(field / "run.toml", cluster)


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to make.")],
    survey: Annotated[
        str | None,
        typer.Option(help="Files as of hsc, euclid-mer, euclid-ero or sdss; else a plain field."),
    ] = None,
    size_px: Annotated[
        int | None, typer.Option(min=256, help=f"Side of the sky; {SIZE_PX} px of a plain field.")
    ] = None,
    tile_px: Annotated[
        int | None, typer.Option(min=64, help="Side of a survey's patches, tiles or frames.")
    ] = None,
    n_sources: Annotated[
        int | None, typer.Option(min=20, help=f"Sources in the list; {N_SOURCES} of a plain field.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = SEED,
) -> None:
    """Write a simulated cluster field: images, tables, its truth and a run file.

    Example: survey-classifier simulate out/field --seed 7
    """
    if survey is not None:
        _simulate_survey(out, survey, size_px, tile_px, n_sources, seed)
    elif tile_px is not None:
        raise InputError("a plain field has no tiles: leave --tile-px out, or name a --survey")
    else:
        _simulate(out, size_px or SIZE_PX, n_sources or N_SOURCES, seed)
    typer.echo(f"run file: {out / 'run.toml'}")


def _simulate_survey(
    folder: Path,
    survey: str,
    size_px: int | None,
    tile_px: int | None,
    n_sources: int | None,
    seed: int,
) -> None:
    from survey_classifier.synthetic.survey import simulate_survey

    with bars() as shown:
        simulate_survey(
            folder, survey, seed=seed, size_px=size_px, tile_px=tile_px, n_sources=n_sources,
            progress=shown.of("simulate"),
        )  # fmt: skip


def _simulate(folder: Path, size_px: int, n_sources: int, seed: int) -> None:
    from survey_classifier.synthetic.field import simulate as run

    with bars() as shown:
        run(folder, seed=seed, size_px=size_px, n_sources=n_sources, progress=shown.of("simulate"))
