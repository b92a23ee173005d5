"""The file of detected sources: its columns, and writing it.

Owns what users see of a list that was detected. Does not own the finding (``sources.detect``),
nor the catalog of a run (``schema``).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from survey_classifier.catalog.column import Column, Values
from survey_classifier.catalog.footer import FINGERPRINT_KEY, table_footer
from survey_classifier.catalog.parts import PARQUET, ROWS_PER_GROUP
from survey_classifier.errors import CatalogError
from survey_classifier.files import replacing
from survey_classifier.sources.detection import FLAG_SENTENCES

__all__ = ["detected_bands", "detection_columns", "write_detections"]

_MAGNITUDE = "mag_"
_APERTURE = "mag_aper_"


def detection_columns(
    bands: Sequence[str], aperture_arcsec: float, seeing_arcsec: float | None
) -> tuple[Column, ...]:
    """Return the columns of a list of detected sources, in order.

    Parameters
    ----------
    bands
        Bands with photometry; none where there is only the shape.
    aperture_arcsec
        Diameter of the matched apertures.
    seeing_arcsec
        To which all bands were smoothed for them, None if they were not.

    Raises
    ------
    CatalogError
        If a band cannot be part of a column's name.
    """
    flags = "; ".join(f"{flag.value} {text}" for flag, text in FLAG_SENTENCES.items())
    pixel = "position on its mosaic in pixels, integer = center, origin 0"
    likeness = (
        "0 extended to 1 point-like, by concentration against that of the field's bright stars, "
        "for as many points as galaxies; NaN: too few bright stars, or no light"
    )
    shape = (
        Column("source_id", "string", "", "meta.id;meta.main", "Unique name, by position"),
        Column("ra", "float64", "deg", "pos.eq.ra;meta.main", "Right ascension (ICRS)", (0, 360)),
        Column("dec", "float64", "deg", "pos.eq.dec;meta.main", "Declination (ICRS)", (-90, 90)),
        Column("mosaic", "string", "", "meta.id;obs.field", "Mosaic that it was found on"),
        Column("x", "float64", "pixel", "pos.cartesian.x", f"Horizontal {pixel}"),
        Column("y", "float64", "pixel", "pos.cartesian.y", f"Vertical {pixel}"),
        Column("detection_sigma", "float32", "", "stat.snr",
               "Highest significance on the smoothed combination of bands"),
        Column("n_bands", "int16", "", "meta.number", "Bands with data in the total aperture"),
        Column("detection_flags", "int32", "", "meta.code", f"Sum of bits: {flags}"),
        Column("half_light_radius_arcsec", "float32", "arcsec", "phys.angSize",
               "Radius of half of the light of all bands, seeing included; NaN: no light"),
        Column("ellipticity", "float32", "", "src.ellipticity", "1 - b / a, seeing included",
               (0, 1)),
        Column("position_angle", "float32", "deg", "pos.posAng",
               "Of the long axis, from north through east", (0, 180)),
        Column("total_radius_arcsec", "float32", "arcsec", "phys.angSize",
               "Root of the product of the half axes of the total (Kron) aperture"),
        Column("point_likeness", "float32", "", "src.class.starGalaxy", likeness, (0, 1)),
    )  # fmt: skip
    at = (
        "at each band's own seeing, which is not known of all"
        if seeing_arcsec is None
        else f"all bands smoothed to a seeing of {seeing_arcsec:.3g} arcsec"
    )
    circle = f"within a circle of {aperture_arcsec:g} arcsec diameter, {at}"
    return (
        *shape,
        *(column for band in bands for column in _of_band(band, circle)),
        Column("_healpix_29", "int64", "", "pos.healpix", "HEALPix index, nested, order 29"),
    )


def _of_band(band: str, circle: str) -> tuple[Column, ...]:
    """Return the photometry of one band; magnitudes are AB, not dereddened."""
    columns = []
    for kind, where in (("", "within the total (Kron) aperture"), ("_aper", circle)):
        mag, flux = f"phot.mag;em.opt.{band}", f"phot.flux.density;em.opt.{band}"
        # Only the bands of the UCD vocabulary.
        if band.upper() not in {"U", "B", "V", "R", "I"}:
            mag, flux = "phot.mag;em.opt", "phot.flux.density;em.opt"
        else:
            mag, flux = mag.replace(band, band.upper()), flux.replace(band, band.upper())
        columns += [
            Column(f"mag{kind}_{band}", "float32", "mag", mag,
                   f"AB magnitude in {band} {where}, not dereddened; NaN: no positive flux"),
            Column(f"magerr{kind}_{band}", "float32", "mag", f"stat.error;{mag}",
                   f"Error of mag{kind}_{band}"),
            Column(f"flux{kind}_{band}", "float32", "nJy", flux,
                   f"Flux in {band} {where}; NaN: no data"),
            Column(f"fluxerr{kind}_{band}", "float32", "nJy", f"stat.error;{flux}",
                   f"Error of flux{kind}_{band}: of the pixels' variance, and of the sky's scatter "
                   "over apertures"),
        ]  # fmt: skip
    return tuple(columns)


def write_detections(
    path: Path,
    columns: Sequence[Column],
    values: Mapping[str, Values],
    parameters: Mapping[str, str],
    fingerprint: str,
) -> None:
    """Write a list of detected sources; it appears complete or not at all.

    Parameters
    ----------
    path
        The file; one that is there is replaced, its folder is made.
    columns
        From `detection_columns`.
    values
        One array of shape ``(n,)`` for each column; others are left out.
    parameters
        What the file says of where its rows come from.
    fingerprint
        SHA-256 over all that changes the list.

    Raises
    ------
    CatalogError
        If a value may not be published, or the file cannot be written.
    """
    ids = values["source_id"]
    arrow = pa.schema([column.arrow_field for column in columns])
    arrays = [pa.array(c.convert(values[c.name], ids), type=c.arrow_field.type) for c in columns]
    table = pa.Table.from_arrays(arrays, schema=arrow)
    widths = {
        column.name: max(1, pc.max(pc.binary_length(table[column.name])).as_py() or 0)
        for column in columns
        if column.dtype == "string"
    }
    keys = table_footer(columns, path.stem, parameters, len(ids), widths)
    try:
        with replacing(path) as temporary, temporary.open("xb") as stream:
            with pq.ParquetWriter(stream, arrow, **PARQUET) as writer:
                writer.write_table(table, row_group_size=ROWS_PER_GROUP)
                writer.add_key_value_metadata(keys | {FINGERPRINT_KEY: fingerprint})
            stream.flush()
    except OSError as error:
        raise CatalogError(f"cannot write {path}: {error}; free or choose another place") from error


def detected_bands(names: Iterable[str]) -> list[str]:
    """Return the bands with magnitudes among the columns of a list of detected sources."""
    return [
        name.removeprefix(_MAGNITUDE)
        for name in names
        if name.startswith(_MAGNITUDE) and not name.startswith(_APERTURE)
    ]
