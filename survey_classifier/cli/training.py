"""The verb ``train``.

Owns its options. Does not own the training (``training``).
"""

from pathlib import Path
from typing import Annotated

import typer

from survey_classifier.cli.terminal import app, bars

__all__ = ["train"]


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
