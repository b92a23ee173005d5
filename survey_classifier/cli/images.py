"""The verb ``score``.

Owns its options. Does not own the work (``run.score``).
"""

from pathlib import Path
from typing import Annotated

import typer

from survey_classifier.cli.terminal import app, bars

__all__ = ["score"]


@app.command()
def score(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="A shipped name, or a .safetensors file.")
    ],
    stamps: Annotated[
        Path,
        typer.Argument(metavar="STAMPS", help="Folder or zip of PNG, JPEG or FITS, one a source."),
    ],
    table: Annotated[Path, typer.Option(help="Table of the sources: CSV, FITS, VOTable, Parquet.")],
    name_column: Annotated[str, typer.Option(help="Its column with the names of the images.")],
    out: Annotated[Path, typer.Option(help="The new table, Parquet.")],
    scale_arcsec: Annotated[
        float | None, typer.Option(help="Pixel scale; FITS files with a WCS say it themselves.")
    ] = None,
    bands: Annotated[
        str | None,
        typer.Option(
            metavar="I,R,G",
            help="Bands of the planes in order, or HDUs of the bands: i=HSC_I,r=3,g=HSC_G; the "
            "checkpoint's own by default.",
        ),
    ] = None,
    source_px: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y",
            help="The source: x from the left, y from the file's first row (the top of PNG and "
            "JPEG, the bottom of FITS), first pixel 0; the middle by default.",
        ),
    ] = None,
    zero_point: Annotated[
        float | None,
        typer.Option(help="AB magnitude of one count, for FITS files that do not say it."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it is there.")] = (
        False
    ),
) -> None:
    """Score images of sources that exist already; no mosaic is needed.

    Every row of the table comes out; where there is no score, status_reason
    says why.

    Exit codes: 0 the table is written; 1 it is, but no row has a score or the
    network failed on some; 2 the input is wrong and nothing was written, as
    where no image is there or none of the first 20 fits bands, scale and
    checkpoint.

    Example: survey-classifier score perseus-sdss thumbs.zip --table sources.csv --name-column
    thumb --scale-arcsec 0.1 --out scores.parquet
    """
    from survey_classifier.images.frame import ImageFrame, read_bands, read_position
    from survey_classifier.model.checkpoint import read_card
    from survey_classifier.model.shipped import resolve_checkpoint
    from survey_classifier.run.score import ImageTable
    from survey_classifier.run.score import score as run_score

    card = read_card(resolve_checkpoint(checkpoint, Path()))
    names, hdus = (card.bands, {}) if bands is None else read_bands(bands)
    source = None if source_px is None else read_position(source_px)
    frame = ImageFrame(names, scale_arcsec, source, zero_point=zero_point, hdus=hdus)
    with bars() as shown:
        scored = run_score(
            checkpoint, ImageTable(table, name_column, stamps), out, frame, device=device,
            overwrite=overwrite, progress=shown.of("score"),
        )  # fmt: skip
    for line in scored.lines:
        typer.echo(line)
    typer.echo(f"scores: {scored.path}")
    raise typer.Exit(scored.exit_code)
