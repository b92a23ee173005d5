"""The rows of a catalog: which columns there are, and what must hold across them.

Owns the order of the columns and the making of rows from arrays. Does not own the columns
themselves (``columns``), the rules of one column (``column``), files (``parts``, ``publish``)
or the values (``run.tile``).
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass

import astropy.units as u
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from astropy_healpix import lonlat_to_healpix

from survey_classifier.catalog.column import Column, Values, refuse, strings
from survey_classifier.catalog.columns import (
    class_column,
    image_class_column,
    pixel_columns,
    redshift_columns,
    score_columns,
    source_columns,
)
from survey_classifier.catalog.photometry_columns import (
    color_columns,
    magnitude_column,
    magnitude_error_column,
    star_columns,
)
from survey_classifier.errors import CatalogError
from survey_classifier.membership.flags import Status

__all__ = ["CatalogSchema", "build_schema", "healpix_29"]

_MEMBER, _STAR = "member", "star"
_STRAY_SCORE = "in a row that is not classified; a failed score is NaN"
_LOST_SCORE = "in a row that is classified; a failed score has a status that says so"


@dataclass(frozen=True, slots=True)
class CatalogSchema:
    """The columns of a catalog, in order.

    Raises
    ------
    CatalogError
        If two columns have one name, or ``source_id`` or ``status`` is not among them.
    """

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        for name in self.names:
            if self.names.count(name) > 1:
                raise CatalogError(f"two columns are called {name!r}; rename a band or a class")
        for name in ("source_id", "status"):
            if name not in self.names:
                raise CatalogError(f"no column {name!r} among {', '.join(self.names)}; add it")

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def arrow(self) -> pa.Schema:
        """The ``pyarrow.Schema`` of the rows."""
        return pa.schema([column.arrow_field for column in self])

    @property
    def digest(self) -> str:
        """SHA-256 over all that the columns say, hexadecimal."""
        return hashlib.sha256(repr([astuple(column) for column in self]).encode()).hexdigest()

    def to_arrow(self, columns: Mapping[str, Values]) -> pa.Table:
        """Return rows as a ``pyarrow.Table``.

        Parameters
        ----------
        columns
            One array of shape ``(n,)`` for each column of the schema, and no other, in any order.

        Raises
        ------
        CatalogError
            If a column is missing, unknown, of another length or kind, or holds what may never
            be published: infinity, a number outside the column's limits or type, a status that
            is not registered, a score in a row that is not classified, or none in one that is.
        """
        self._check_shapes(columns)
        source_ids = strings("source_id", columns["source_id"])
        arrays = {c.name: c.convert(columns[c.name], source_ids) for c in self}
        self._check_scores(arrays, source_ids)
        return pa.Table.from_arrays(
            [pa.array(arrays[c.name], type=c.arrow_field.type) for c in self], schema=self.arrow
        )

    def _check_shapes(self, columns: Mapping[str, Values]) -> None:
        missing = [name for name in self.names if name not in columns]
        unknown = [name for name in columns if name not in self.names]
        if missing or unknown:
            raise CatalogError(
                f"rows need exactly the schema's columns; missing: {missing}, unknown: {unknown}"
            )
        n = len(columns["source_id"])
        for name, values in columns.items():
            if values.shape != (n,):
                raise CatalogError(f"column {name}: shape {values.shape} for {n} sources")

    def _check_scores(self, arrays: Mapping[str, Values], source_ids: Values) -> None:
        """Refuse a score without the status that vouches for it, and the reverse."""
        status = arrays["status"]
        names = [member.value for member in Status]
        unknown = ~np.isin(status, names)
        refuse("status", status, source_ids, unknown, f"is none of {', '.join(names)}")
        classified = np.asarray(status == Status.CLASSIFIED.value, dtype=np.bool_)
        for column in self:
            if column.scored:
                values = arrays[column.name]
                stray = np.isfinite(values) & ~classified
                refuse(column.name, values, source_ids, stray, _STRAY_SCORE)
                lost = np.isnan(values) & classified
                refuse(column.name, values, source_ids, lost, _LOST_SCORE)


def healpix_29(ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the HEALPix index of each position: nested, order 29, as in HATS catalogs.

    Parameters
    ----------
    ra_deg, dec_deg
        ICRS positions, shape ``(n,)``.

    Returns
    -------
    ndarray of int64
        Shape ``(n,)``; -1 where a coordinate is not finite.
    """
    ra, dec = np.asarray(ra_deg, dtype=np.float64), np.asarray(dec_deg, dtype=np.float64)
    known = np.isfinite(ra) & np.isfinite(dec)
    index = np.full(ra.shape, -1, dtype=np.int64)
    if known.any():
        index[known] = lonlat_to_healpix(
            ra[known] * u.deg, dec[known] * u.deg, nside=2**29, order="nested"
        )
    return index


def build_schema(
    classes: Sequence[str], magnitude_bands: Sequence[str], error_bands: Sequence[str] = ()
) -> CatalogSchema:
    """Return the schema of a run's catalog.

    Parameters
    ----------
    classes
        The network's classes; one is ``member``.
    magnitude_bands
        Bands whose magnitudes the source list has.
    error_bands
        Bands whose errors of magnitudes it has.

    Raises
    ------
    CatalogError
        If ``member`` is not among the classes, or a band or class cannot be part of a name.
    """
    if _MEMBER not in classes:
        raise CatalogError(f"no class {_MEMBER!r} among {', '.join(classes)}; use another network")
    others = [name for name in classes if name != _MEMBER]
    return CatalogSchema(
        (
            *source_columns(),
            *score_columns(),
            # Of two classes the other one's is 1 - p_image; p_star is a column of its own.
            *(image_class_column(name) for name in others if len(others) > 1),
            *(class_column(name) for name in others if name != _STAR),
            *redshift_columns(),
            *(magnitude_column(band) for band in magnitude_bands),
            *(magnitude_error_column(band) for band in error_bands),
            *star_columns(),
            *color_columns(),
            *pixel_columns(),
        )
    )
