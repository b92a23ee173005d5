"""The verb ``red-sequence``: from a table of galaxies to a file that runs can name.

Owns which columns of the table are used, the file and the figure. Does not own the fit
(``membership.red_sequence_fit``) nor the value (``membership.red_sequence``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tomli_w

from survey_classifier.errors import ConfigError, RunError
from survey_classifier.files import replacing, write_text
from survey_classifier.membership.extinction import deredden
from survey_classifier.membership.red_sequence import RedSequence
from survey_classifier.membership.red_sequence_fit import RedSequenceFit, fit_red_sequence
from survey_classifier.sources.digest import table_digest
from survey_classifier.sources.formats import read_table
from survey_classifier.sources.table import MAX_EBV

__all__ = ["Galaxies", "fit_table"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Galaxies:
    """A table of galaxies, and which of its columns are used; bands are pairs of name, column."""

    path: Path
    blue: tuple[str, str]
    red: tuple[str, str]
    mag: tuple[str, str]
    err: Mapping[str, str] = field(default_factory=dict)
    """Band to column of the error of its magnitude."""
    ebv: str | float | None = None
    """Column of E(B-V), or its value; None where magnitudes are dereddened."""
    system: str = "sdss"
    """Photometric system, for dereddening."""
    members: tuple[str, str] | None = None
    """Column, and the text that rows must have in it to be used."""

    def __post_init__(self) -> None:
        bands: dict[str, str] = {}
        for band, column in (self.blue, self.red, self.mag):
            if bands.setdefault(band, column) != column:
                raise ConfigError(
                    f"the band {band} is to be {bands[band]!r} and {column!r}: give one column"
                )
        for band in self.err:
            if band not in bands:
                raise ConfigError(
                    f"an error is of the band {band!r}, which is none of {', '.join(sorted(bands))}"
                )
        if self.blue[0] == self.red[0]:
            raise ConfigError(f"the color is {self.blue[0]} - {self.red[0]}: give two bands")


def fit_table(
    galaxies: Galaxies,
    mag_range: tuple[float, float] | None,
    out: Path,
    plot: Path | None = None,
) -> RedSequenceFit:
    """Fit the red sequence of a table's galaxies, and write it.

    Parameters
    ----------
    galaxies
        The table.
    mag_range
        Brightest and faintest dereddened magnitude used; all, if None.
    out
        The file (TOML) that ``red_sequence`` of a run names; one that is there is replaced.
    plot
        PNG to draw the fit into.

    Raises
    ------
    ConfigError
        If a band is not of the photometric system.
    SourcesError
        If the table can't be read, or there is no red sequence in it.
    RunError
        If a file can't be written.
    """
    color, color_err, mag = _photometry(galaxies)
    bands = (galaxies.blue[0], galaxies.red[0], galaxies.mag[0])
    fit = fit_red_sequence(color, color_err, mag, bands, mag_range)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, tomli_w.dumps(_content(fit, galaxies)))
        if plot is not None:
            from survey_classifier.run.sequence_figure import sequence_figure

            with replacing(plot) as temporary:
                temporary.write_bytes(sequence_figure(mag, color, fit))
    except OSError as error:
        raise RunError(
            f"the red sequence can't be written to {error.filename or out} ({error.strerror}): "
            "change --out or --plot"
        ) from error
    RedSequence.read(out)
    return fit


def _photometry(galaxies: Galaxies) -> tuple[Floats, Floats, Floats]:
    """Return colors, their errors and magnitudes of the rows that are to be used."""
    bands = dict((galaxies.blue, galaxies.red, galaxies.mag))
    more = [galaxies.ebv] if isinstance(galaxies.ebv, str) else []
    more += [galaxies.members[0]] if galaxies.members else []
    table = read_table(galaxies.path, [*bands.values(), *galaxies.err.values(), *more])
    mag = {band: table.unmarked(column) for band, column in bands.items()}
    if galaxies.ebv is not None:
        is_column = isinstance(galaxies.ebv, str)
        ebv = table.numbers(str(galaxies.ebv)) if is_column else np.float64(galaxies.ebv)
        ebv = np.where((ebv >= 0) & (ebv < MAX_EBV), ebv, np.nan)
        mag = {band: deredden(values, band, ebv, galaxies.system) for band, values in mag.items()}
    unknown = np.full(len(table), np.nan)
    err = {band: table.numbers(column) for band, column in galaxies.err.items()}
    err = {band: np.where(values >= 0, values, np.nan) for band, values in err.items()}
    blue, red, of = galaxies.blue[0], galaxies.red[0], galaxies.mag[0]
    color_err = np.hypot(err.get(blue, unknown), err.get(red, unknown))
    used = np.ones(len(table), dtype=np.bool_)
    if galaxies.members is not None:
        column, wanted = galaxies.members
        used = table.text(column) == wanted
        if not used.any():
            raise ConfigError(f"no row of {galaxies.path} has {wanted!r} in {column!r}: correct it")
    return (mag[blue] - mag[red])[used], color_err[used], mag[of][used]


def _content(fit: RedSequenceFit, galaxies: Galaxies) -> dict[str, object]:
    """Return the file's content: the sequence, where it comes from and its errors."""
    metrics = {
        "objects": fit.n_object,
        "objects_on_sequence": round(fit.n_sequence, 1),
        "zero_err": round(fit.zero_err, 4),
        "slope_err": round(fit.slope_err, 4),
        "scatter_err": round(fit.scatter_err, 4),
        "log_likelihood_gain": round(fit.gain, 1),
    }
    source = f"Fitted to {galaxies.path.name}, sha256 {table_digest(galaxies.path)}"
    if galaxies.members is not None:
        source += f", rows with {galaxies.members[0]} = {galaxies.members[1]}"
    update = {"source": f"{source}.", "metrics": metrics}
    return fit.sequence.model_copy(update=update).model_dump(mode="json", exclude_none=True)
