"""Classifying with bars, and where the results are.

Owns what is printed at the end of a run. Does not own the verbs that do it (``runs``, ``fields``).
"""

from pathlib import Path

import typer

from survey_classifier.cli.terminal import bars

__all__ = ["classify_and_show", "show_result"]


def classify_and_show(run: Path, cluster: str | None) -> None:
    """Classify a run file's sources with bars, print the results' places, and exit by them."""
    from survey_classifier.run.classify import classify as run_classify
    from survey_classifier.run.config import read_run

    config = read_run(run)
    with bars() as shown:
        receipt = run_classify(config, cluster=cluster, listener=shown)
    show_result(config.catalog_path, config.report_path, receipt.line)
    for failure in receipt.failures:
        typer.echo(f"failed: tile {failure.tile} in {failure.stage}: {failure.reason}", err=True)
    raise typer.Exit(receipt.exit_code)


def show_result(catalog: Path, report: Path, line: str) -> None:
    """Print where the results are, and the sum that accounts for every source last."""
    typer.echo(f"catalog: {catalog}")
    typer.echo(f"report:  {report}")
    typer.echo(line)
