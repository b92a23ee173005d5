"""The ``[mosaic]`` table of a run file: what mosaics are made of, and on which grid.

Owns its keys, their defaults, and which of them exclude each other. Does not own the tables of its
inputs (``exposure``), which files these mean (``inputs``) nor the grid itself (``grids``).
"""

import math
from types import UnionType
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from survey_classifier.mosaic.exposure import MosaicInput
from survey_classifier.mosaic.grids import MAX_SIDE_PX
from survey_classifier.settings import Settings

__all__ = ["MosaicSettings"]


class MosaicSettings(Settings):
    """The ``[mosaic]`` table of a run file."""

    store: str | None = None
    """Folder or URL of the Zarr store, made from ``inputs`` if it is not there; with a
    ``{word}`` that the inputs' paths have too, one store for each text that it stands for."""
    stores: tuple[str, ...] = ()
    """Finished stores instead, of which each may be a pattern such as ``tiles/*.zarr``."""
    scale_arcsec: Literal["native"] | float = "native"
    """``native``: the grid of the first input. A number: every band is resampled to it."""
    center_deg: tuple[float, float] | None = None
    """Right ascension and declination of the middle of a grid of your own."""
    size_px: tuple[int, int] | None = None
    """Its width and height; with ``center_deg`` and a number as ``scale_arcsec``."""
    extent: Literal["inputs", "survey"] = "inputs"
    """``inputs``: as far as the files reach. ``survey``: the whole grid that the survey's files
    are pieces of, such as an HSC tract, whether they are all there or not."""
    match_psf: bool = False
    """Whether every band is convolved to the seeing of the worst."""
    quantize: Annotated[int, Field(ge=2, le=1024)] | None = None
    """Steps per sky noise that flux is rounded to, None to keep every bit."""
    memory_mib: Annotated[int, Field(ge=64)] = 1024
    """Memory that an ingest may take for pixels."""
    bands: tuple[str, ...] | None = None
    """Bands that a run uses, where the stores have more than its checkpoint needs; None: all."""
    inputs: tuple[MosaicInput, ...] = Field(default=())
    """Image files; none are needed when the store is there."""

    @field_validator("stores", mode="before")
    @classmethod
    def _one_or_many(cls, stores: object) -> object:
        return (stores,) if isinstance(stores, str) else stores

    @field_validator("scale_arcsec", mode="before")
    @classmethod
    def _positive(cls, scale: object) -> object:
        is_number = isinstance(scale, int | float) and not isinstance(scale, bool)
        if scale != "native" and not (is_number and 0 < scale < math.inf):  # type: ignore[operator]
            raise ValueError(f"a positive number of arcsec, or 'native', got {scale!r}")
        return scale

    @field_validator("center_deg", mode="before")
    @classmethod
    def _position(cls, center: object) -> object:
        if center is not None and not _are_two(center, int | float):
            raise ValueError(
                "right ascension and declination in degrees, such as center_deg = "
                f"[49.95, 41.51], got {center!r}"
            )
        return center

    @field_validator("size_px", mode="before")
    @classmethod
    def _size(cls, size: object) -> object:
        if size is None:
            return size
        if not _are_two(size, int) or not all(1 <= side <= MAX_SIDE_PX for side in size):  # type: ignore[attr-defined]
            raise ValueError(
                f"width and height in pixels, 1 to {MAX_SIDE_PX} each, such as size_px = "
                f"[20000, 16000], got {size!r}"
            )
        return size

    @field_validator("bands", mode="before")
    @classmethod
    def _names(cls, bands: object) -> object:
        if isinstance(bands, str):
            raise ValueError(f'a list of names, such as bands = ["g", "r"], got {bands!r}')
        return bands

    @model_validator(mode="after")
    def _sound(self) -> "MosaicSettings":
        if (self.store is None) == (not self.stores):
            raise ValueError("give either store (one, made from inputs) or stores (finished ones)")
        if self.stores and self.inputs:
            raise ValueError("stores are finished mosaics: give store for one made from inputs")
        if (self.center_deg is None) != (self.size_px is None):
            raise ValueError("center_deg and size_px go together: give both or neither")
        if self.center_deg is not None:
            self._require_own_grid(*self.center_deg)
        return self

    def _require_own_grid(self, ra_deg: float, dec_deg: float) -> None:
        """Check what a grid of the user's own needs."""
        if isinstance(self.scale_arcsec, str):
            raise ValueError("center_deg and size_px need a number as scale_arcsec")
        if self.extent == "survey":
            raise ValueError("extent = 'survey' and a grid of your own exclude each other")
        if not (0 <= ra_deg < 360 and -90 < dec_deg < 90):
            raise ValueError(f"center_deg = [{ra_deg}, {dec_deg}] is no position on the sky")

    @property
    def scale(self) -> float | None:
        """The pixel scale in arcsec, None for the first input's."""
        return None if isinstance(self.scale_arcsec, str) else self.scale_arcsec


def _are_two(value: object, kind: type | UnionType) -> bool:
    """Return whether a value is a pair of numbers of a kind."""
    is_pair = isinstance(value, list | tuple) and len(value) == 2
    return is_pair and all(isinstance(v, kind) and not isinstance(v, bool) for v in value)  # type: ignore[attr-defined]
