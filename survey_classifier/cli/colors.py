"""The verb ``red-sequence``.

Owns its options. Does not own the fit (``membership``) nor the file (``run``).
"""

from pathlib import Path
from typing import Annotated

import typer

from survey_classifier.cli.terminal import app
from survey_classifier.errors import ConfigError

__all__ = ["red_sequence"]

PAIR = "BAND[=COLUMN]"


@app.command()
def red_sequence(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="Galaxies with magnitudes.")],
    blue: Annotated[
        str, typer.Option(metavar=PAIR, help="Blue band; its column is mag_BAND by default.")
    ],
    red: Annotated[str, typer.Option(metavar=PAIR, help="Red band.")],
    mag: Annotated[str, typer.Option(metavar=PAIR, help="Band of the magnitude.")],
    out: Annotated[Path, typer.Option(metavar="FILE.toml", help="File to write.")],
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the fit into this file.")
    ] = None,
    mag_range: Annotated[
        str | None,
        typer.Option(
            metavar="BRIGHT,FAINT", help="Magnitudes used, such as 14,19; all by default."
        ),
    ] = None,
    err: Annotated[
        list[str] | None,
        typer.Option(metavar="BAND=COLUMN", help="Error of a band's magnitude; may be repeated."),
    ] = None,
    ebv: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN|MAG", help="E(B-V); by default the magnitudes are dereddened already."
        ),
    ] = None,
    system: Annotated[str, typer.Option(help="Photometric system, for dereddening.")] = "sdss",
    members: Annotated[
        str | None,
        typer.Option(metavar="COLUMN=TEXT", help="Use the rows with this text only."),
    ] = None,
) -> None:
    """Fit the red sequence of a cluster; a run uses it by red_sequence = "FILE.toml".

    Example: survey-classifier red-sequence out/demo/catalog.parquet --blue g --red z --mag r
    --mag-range 14,20 --out red_sequence.toml --plot red_sequence.png
    """
    from survey_classifier.run.red_sequence import Galaxies, fit_table

    galaxies = Galaxies(
        table,
        blue=_band(blue),
        red=_band(red),
        mag=_band(mag),
        err=dict(_pair("--err", text) for text in err or []),
        ebv=_number(ebv),
        system=system,
        members=None if members is None else _pair("--members", members),
    )
    _check_bands(galaxies.blue[0], galaxies.red[0])
    if out.suffix != ".toml":
        raise ConfigError(f"--out is {out}: a run reads red sequences from a .toml file")
    fit = fit_table(galaxies, _range(mag_range), out, plot)
    line, name = fit.sequence.branches[0], f"{fit.sequence.blue} - {fit.sequence.red}"
    typer.echo(
        f"{name} = {line.zero:.3f} +- {fit.zero_err:.3f} at {fit.sequence.mag} = {line.pivot:g}, "
        f"slope {line.slope:.4f} +- {fit.slope_err:.4f}, scatter {fit.sequence.scatter:.3f} +- "
        f"{fit.scatter_err:.3f}; {fit.n_sequence:.0f} of {fit.n_object} objects are on it"
    )
    typer.echo(f"red sequence: {out}" + ("" if plot is None else f", drawn in {plot}"))


def _check_bands(blue: str, red: str) -> None:
    """Refuse a color the wrong way round."""
    order = "ugrizyYJH"
    if blue in order and red in order and order.index(blue) > order.index(red):
        raise ConfigError(
            f"{red} is bluer than {blue}: give --blue {red} --red {blue}, so that redder is larger"
        )


def _band(text: str) -> tuple[str, str]:
    """Return a band and its column."""
    band, equals, column = text.partition("=")
    if not band or (equals and not column):
        raise ConfigError(f"{text!r} is no band: give BAND or BAND=COLUMN")
    return band, column or f"mag_{band}"


def _pair(option: str, text: str) -> tuple[str, str]:
    """Return what stands on both sides of an equals sign."""
    name, _, value = text.partition("=")
    if not name or not value:
        raise ConfigError(f"{option} is {text!r}: give two names with = between them")
    return name, value


def _number(text: str | None) -> str | float | None:
    """Return a number, or the name of a column."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _range(text: str | None) -> tuple[float, float] | None:
    """Return two magnitudes, the brighter first."""
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = float("nan")
    if not low < high:
        raise ConfigError(f"--mag-range is {text!r}: give the brighter and the fainter, as 14,19")
    return low, high
