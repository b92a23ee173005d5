"""The verb ``spectra``.

Owns its options. Does not own the search (``run.spectra``).
"""

from pathlib import Path
from typing import Annotated

import typer

from survey_classifier.cli.terminal import app

__all__ = ["spectra"]


@app.command()
def spectra(
    tables: Annotated[
        list[Path], typer.Argument(metavar="TABLE", help="Tables of spectra, joined to one.")
    ],
    center: Annotated[str, typer.Option(metavar="RA,DEC", help="Center, in degrees.")],
    radius: Annotated[float, typer.Option(metavar="DEG", help="Radius of the circle.")],
    out: Annotated[Path, typer.Option(help="Parquet or CSV file to write.")],
    columns: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=COLUMN,...",
            help="Which column is id, ra, dec, z, z_err, z_warning, spec_class, such as "
            "id=objID,z_err=zErr; or a FILE.toml with these keys. Once for all tables, or once a "
            "table.",
        ),
    ] = None,
    z_cluster: Annotated[
        float | None, typer.Option(help="The cluster's redshift; that of Perseus.")
    ] = None,
    sigma: Annotated[
        float | None, typer.Option(metavar="KM/S", help="Its velocity dispersion.")
    ] = None,
) -> None:
    """Collect all objects with a spectrum around a center, as a labeled sample.

    Example: survey-classifier spectra sdss.csv --center 49.9507,41.5117 --radius 1.5
    --columns id=objID,z_err=zErr,z_warning=zWarning,spec_class=class --out out/spectra.parquet
    """
    from survey_classifier.membership.redshift import RedshiftCuts
    from survey_classifier.run.spectra import read_columns, search_spectra
    from survey_classifier.sources.cone import read_cone
    from survey_classifier.sources.spectra import RedshiftColumns

    mapping = [read_columns(text) for text in columns or ()] or [RedshiftColumns()]
    cone = read_cone(center, radius)
    assert cone is not None  # noqa: S101 - both are given
    cuts = RedshiftCuts().moved(z_cluster, sigma)
    for line in search_spectra(tables, mapping, cone, out, cuts).lines():
        typer.echo(line)
