"""The verb ``fetch-catalog``.

Owns its options. Does not own the archives' protocols (``sources``).
"""

from pathlib import Path
from typing import Annotated

import typer

from survey_classifier.cli.terminal import app

__all__ = ["fetch_catalog"]


@app.command()
def fetch_catalog(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Of a published catalog, or its definition file.")
    ],
    center: Annotated[
        str | None, typer.Option(metavar="RA,DEC", help="Center of a circle, in degrees.")
    ] = None,
    radius: Annotated[float | None, typer.Option(metavar="DEG", help="Its radius.")] = None,
    table: Annotated[
        str | None, typer.Option(help="The archive's table, where the definition leaves it open.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="VOTable to write; out/catalogs/NAME.vot by default.")
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Fetch it although it is there.")] = (
        False
    ),
) -> None:
    """Fetch a published catalog, with a record of its origin beside it.

    Example: survey-classifier fetch-catalog gaia-dr3 --center 194.95,27.98 --radius 0.5
    """
    from survey_classifier.sources.cone import read_cone
    from survey_classifier.sources.fetch import fetch_catalog as run_fetch

    path = out or Path("out/catalogs") / f"{Path(name).stem if '/' in name else name}.vot"
    fetched = run_fetch(name, path, cone=read_cone(center, radius), table=table, refresh=refresh)
    for line in fetched.lines():
        typer.echo(line)
