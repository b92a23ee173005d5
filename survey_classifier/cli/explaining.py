"""The verb ``explain``.

Owns its options. Does not own the work (``run.explain``).
"""

from pathlib import Path
from typing import Annotated

import typer

from survey_classifier.cli.terminal import Out, app, bars

__all__ = ["explain"]


@app.command()
def explain(
    out: Out,
    source_ids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="Identifiers of sources of the run.")
    ],
    folder: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Where to write; OUT/explain by default."),
    ] = None,
) -> None:
    """Show what the network saw of sources, and what on it made their scores (HTML and PNG).

    Of several sources an index leads to the pages.

    Example: survey-classifier explain out/perseus-west PCC-0462 PCC-1543
    """
    from survey_classifier.run.explain import INDEX
    from survey_classifier.run.explain import explain as run_explain

    with bars() as shown:
        pages = run_explain(out, source_ids, folder, shown.of("explain"))
    for path in pages:
        typer.echo(f"page: {path}")
    if len(pages) > 1:
        typer.echo(f"index: {pages[0].with_name(INDEX)}")
