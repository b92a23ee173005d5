"""The verbs ``train`` and ``calibrate``.

Owns their options. Does not own the training (``training``).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from survey_classifier.cli.terminal import app, bars
from survey_classifier.errors import InputError

__all__ = ["calibrate", "train"]


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe (TOML).")],
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Train again what is finished.")
    ] = False,
) -> None:
    """Train a network on labeled stamps and write its checkpoint; go on where it was stopped.

    NAME.safetensors, NAME-log.csv and NAME-out-of-fold.csv are written into the recipe's out.

    Example: survey-classifier train deploy/recipes/perseus-sdss.toml
    Several GPUs: torchrun --nproc-per-node 4 -m survey_classifier.cli train RECIPE
    """
    from survey_classifier.training.fit import train as run_train

    with bars() as shown, _said_once():
        run_train(recipe, shown.of("train"), device, typer.echo, overwrite=overwrite)


@contextmanager
def _said_once() -> Iterator[None]:
    """Leave it to the first of a machine's processes to say what is wrong for all of them."""
    try:
        yield
    except InputError as error:
        if os.environ.get("LOCAL_RANK", "0") == "0":
            raise
        raise typer.Exit(error.exit_code) from error


@app.command()
def calibrate(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Calibration recipe (TOML).")],
) -> None:
    """Weigh image, color and star evidence on labeled objects and write an evidence file.

    Example: survey-classifier calibrate deploy/recipes/perseus-evidence.toml
    """
    from survey_classifier.training.calibrate import calibrate as run_calibrate

    evidence = run_calibrate(recipe, typer.echo)
    typer.echo(f"evidence: {evidence}")
