"""The verbs ``evaluate`` and ``search``.

Owns their options. Does not own what they do (``training``).
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from survey_classifier.cli.terminal import app

__all__ = ["evaluate", "search"]


@app.command()
def evaluate(
    scores: Annotated[
        Path,
        typer.Argument(metavar="OUT|TABLE", help="Output folder of a run, or a table of scores."),
    ],
    truth: Annotated[
        Path, typer.Option(metavar="FILE", help="Table of known classes, or a truth file (TOML).")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the results; a former evaluation there is replaced.")
    ],
    against: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="OUT|TABLE",
            help="Other scores to compare with, object by object; may be given repeatedly.",
        ),
    ] = None,
    columns: Annotated[
        str,
        typer.Option(
            metavar="KEY=NAME,...",
            help="Of the truth's table: id, ra, dec, label, mag, color (a sum, as g_r+r_z) and "
            "color_err.",
        ),
    ] = "",
    id_name: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="NAME",
            help="The scores' column of identifiers; by default source_id, id or the truth's own.",
        ),
    ] = None,
    score: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A column of probabilities; may be given repeatedly. By default p_image, and "
            "p_member without redshifts.",
        ),
    ] = None,
    by: Annotated[
        str, typer.Option(metavar="KIND,...", help="Judge apart: class, region, mag, ...")
    ] = "class,region,mag,region-mag,table,fold",
    match: Annotated[
        Literal["id", "position"], typer.Option(help="How objects and scores are joined.")
    ] = "id",
    store: Annotated[
        list[str] | None,
        typer.Option(help="A mosaic to cut stamps from; may be given repeatedly."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the resampling.")] = 0,
) -> None:
    """Compare scores with known classes, beside four simple baselines.

    Example: survey-classifier evaluate out/run --truth truth.csv --out out/evaluation
    """
    from survey_classifier.training.evaluation.evaluate import evaluate as run_evaluate
    from survey_classifier.training.evaluation.settings import parse_columns, read_truth_file

    done = run_evaluate(
        scores,
        read_truth_file(truth, parse_columns(columns), tuple(store or ())),
        out,
        against=against or (),
        id_name=id_name,
        p_names=score or (),
        by=[kind.strip() for kind in by.split(",") if kind.strip()],
        match=match,
        seed=seed,
        say=typer.echo,
    )
    typer.echo(f"page: {done.page}")


@app.command()
def search(
    settings: Annotated[
        Path, typer.Argument(metavar="SEARCH", help="Search file (TOML): a recipe and a space.")
    ],
    cluster: Annotated[
        str | None,
        typer.Option(help="serial, local or a scheduler's address; overrides the search file."),
    ] = None,
) -> None:
    """Train trials of a recipe with other hyper-parameters, and compare them.

    Stopped and run again it goes on, and tries what it would have tried; with several workers that
    depends on which trials end first, too.

    Example: survey-classifier search deploy/recipes/perseus-search.toml
    """
    from survey_classifier.training.search import search as run_search

    found = run_search(settings, cluster, typer.echo)
    typer.echo(f"trials: {found.table}")
    typer.echo(f"best:   {found.best_recipe} ({found.best_value:.4f})")
