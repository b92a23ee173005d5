"""Reading SDSS frames: ``frame-<band>-<run6>-<camcol>-<field4>.fits[.bz2]``.

Owns the layout of a frame (HDU 0 the sky-subtracted image in nanomaggies, HDU 1 the calibration
of each column, HDU 2 the sky that was subtracted) and the noise model of the camera. Does not own
FITS (``fits``, ``fits_file``). Frames carry no mask: saturated pixels are not known.

The variance is that of the frame's product description (SDSS data model, ``frame``), with the
counts as they were before sky subtraction and calibration::

    counts   = image / calibration + sky
    variance = (counts / gain + dark variance) * calibration ** 2
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from scipy.interpolate import RectBivariateSpline

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.exposure import NOISE_KEYS, MosaicInput, Window
from survey_classifier.mosaic.readers.calibration import known_variance, njy_per_count
from survey_classifier.mosaic.readers.filters import require_band
from survey_classifier.mosaic.readers.fits import FitsExposure, open_fits
from survey_classifier.mosaic.readers.fits_file import opened, opened_to_describe
from survey_classifier.mosaic.readers.piece import (
    NOISE_UNKNOWN,
    SurveyPiece,
    refuse_settings,
)

__all__ = ["SdssFrame", "dark_variance", "gain", "open_sdss"]

FRAME_NAME = re.compile(
    r"frame-(?P<filter>[ugriz])-(?P<run>\d{6})-(?P<camcol>[1-6])-(?P<field>\d{4})\.fits(?:\.(?:bz2|gz|fz))?"
)
NANOMAGGY_ZERO_POINT = 22.5
CALIBRATION_HDU, SKY_HDU = 1, 2
SKY_COLUMNS = {"ALLSKY", "XINTERP", "YINTERP"}

FILTERS = "ugriz"
GAIN = (
    (1.62, 3.32, 4.71, 5.165, 4.745),
    (1.595, 3.855, 4.6, 6.565, 5.155),
    (1.59, 3.845, 4.72, 4.86, 4.885),
    (1.6, 3.995, 4.76, 4.885, 4.775),
    (1.47, 4.05, 4.725, 4.64, 3.48),
    (2.17, 4.035, 4.895, 4.76, 4.69),
)
"""Electrons per count, by camera column and filter (SDSS data model, ``frame``)."""
GAIN_FROM_RUN_1100: Mapping[tuple[int, str], float] = MappingProxyType({(2, "u"): 1.825})
DARK_VARIANCE = (
    (9.61, 15.6025, 1.8225, 7.84, 0.81),
    (12.6025, 1.44, 1.0, 5.76, 1.0),
    (8.7025, 1.3225, 1.3225, 4.6225, 1.0),
    (12.6025, 1.96, 1.3225, 6.25, 9.61),
    (9.3025, 1.1025, 0.81, 7.84, 1.8225),
    (7.0225, 1.8225, 0.9025, 5.0625, 1.21),
)
"""Read-out noise and dark current, counts squared, by camera column and filter (ibid.)."""
DARK_VARIANCE_FROM_RUN_1500: Mapping[tuple[int, str], float] = MappingProxyType(
    {(2, "i"): 6.25, (4, "i"): 7.5625, (4, "z"): 12.6025, (5, "z"): 2.1025}
)


def gain(filter_name: str, camcol: int, run: int) -> float:
    """Return the electrons per count of a detector.

    Parameters
    ----------
    filter_name
        One of ``ugriz``.
    camcol
        Camera column, 1 to 6.
    run
        Number of the imaging run.
    """
    usual = GAIN[camcol - 1][FILTERS.index(filter_name)]
    return usual if run < 1100 else GAIN_FROM_RUN_1100.get((camcol, filter_name), usual)


def dark_variance(filter_name: str, camcol: int, run: int) -> float:
    """Return a detector's variance without light, in counts squared; parameters as in `gain`."""
    usual = DARK_VARIANCE[camcol - 1][FILTERS.index(filter_name)]
    return usual if run < 1500 else DARK_VARIANCE_FROM_RUN_1500.get((camcol, filter_name), usual)


@dataclass(frozen=True)
class SdssFrame(SurveyPiece):
    """One frame; see `Exposure`."""

    image: FitsExposure
    electrons_per_count: float
    dark_variance: float
    """Counts squared."""

    @property
    def lacks(self) -> tuple[str, ...]:
        """See `Exposure.lacks`."""
        return () if self.band.has_variance else (f"calibration and sky ({NOISE_UNKNOWN})",)

    def read(self, box: Box) -> Window:
        """See `Exposure.read`.

        Raises
        ------
        MosaicError
            If the file cannot be read there.
        """
        with opened(self.path) as hdus:
            window = self.image.window(hdus, box)
            if not self.band.has_variance:
                return window
            planes = _noise_planes(hdus, self.shape, self.path)
            if planes is None:
                raise MosaicError(
                    f"{self.path} has lost calibration and sky meanwhile (HDU {CALIBRATION_HDU} "
                    f"and {SKY_HDU}); fetch it again"
                )
            calibration = planes.calibration[box.x0 : box.x1].astype(np.float32)
            sky = planes.sky(box)
        # Nanomaggies a count, in the band's unit; a column that was not calibrated has no noise.
        scale = calibration * np.float32(njy_per_count(self.band.zero_point))
        scale = np.where(scale > 0, scale, np.float32(np.nan))
        with np.errstate(over="ignore"):  # what overflows is not known
            counts = np.maximum(window.flux / scale + sky, 0)
            variance = (counts / self.electrons_per_count + self.dark_variance) * scale**2
        return replace(window, variance=known_variance(variance.astype(np.float32, copy=False)))


def open_sdss(settings: MosaicInput, path: Path) -> SdssFrame:
    """Check a frame and describe it.

    Parameters
    ----------
    settings
        The input's table of the run file.
    path
        One frame; the variance is known if it still has its calibration and sky.

    Raises
    ------
    MosaicError
        As `open_fits` does; also if the name is not that of a frame of the band, or calibration and
        sky are not of the image's size.
    """
    refuse_settings(settings, NOISE_KEYS, "computes the noise itself")
    match = FRAME_NAME.fullmatch(path.name)
    if match is None:
        raise MosaicError(
            f"{path} is no SDSS frame by its name, frame-<band>-<run>-<camcol>-<field>.fits with "
            "6, 1 and 4 digits; name it so, or take reader 'fits'"
        )
    require_band(settings.band, [match["filter"]], path, "name")
    defaults: dict[str, Any] = {"hdu": 0, "zero_point": NANOMAGGY_ZERO_POINT}
    chosen = {key: value for key, value in defaults.items() if getattr(settings, key) is None}
    image = open_fits(settings.model_copy(update=chosen), path)
    with opened_to_describe(path) as hdus:
        planes = _noise_planes(hdus, image.shape, path)
    run, camcol = int(match["run"]), int(match["camcol"])
    return SdssFrame(
        image,
        replace(image.band, has_variance=planes is not None),
        repr(("sdss", image.identity)),
        f"{run}-{camcol}-{int(match['field'])}",
        gain(match["filter"], camcol, run),
        dark_variance(match["filter"], camcol, run),
    )


class _NoisePlanes(NamedTuple):
    """What a frame says of its noise."""

    calibration: npt.NDArray[Any]
    """Nanomaggies a count, of each column."""
    coarse_sky: npt.NDArray[np.float64]
    """Counts that were subtracted, on a coarse map."""
    y: npt.NDArray[np.float64]
    """Row of the map for each row of the image."""
    x: npt.NDArray[np.float64]
    """Column of the map for each column of the image."""

    def sky(self, box: Box) -> npt.NDArray[np.float32]:
        """Return the sky in counts within a box, interpolated linearly from the coarse map.

        Beyond the outermost points of the map it is constant, as in the survey's own reading of it.
        """
        rows, columns = np.arange(self.coarse_sky.shape[0]), np.arange(self.coarse_sky.shape[1])
        surface = RectBivariateSpline(rows, columns, self.coarse_sky, kx=1, ky=1, s=0)
        return np.asarray(
            surface(self.y[box.y0 : box.y1], self.x[box.x0 : box.x1]), dtype=np.float32
        )


def _noise_planes(hdus: fits.HDUList, shape: tuple[int, int], path: Path) -> _NoisePlanes | None:
    """Return calibration and sky of a frame, None if it was stripped of them."""
    if len(hdus) <= SKY_HDU:
        return None
    calibration, sky = hdus[CALIBRATION_HDU], hdus[SKY_HDU]
    if not isinstance(sky, fits.BinTableHDU) or not SKY_COLUMNS.issubset(sky.columns.names):
        return None
    shown = getattr(calibration, "shape", None)
    if shown != shape[1:]:
        raise MosaicError(
            f"{path} has a calibration {shown} for an image {shape}; fetch it again, or take "
            "reader 'fits'"
        )
    coarse, y, x = (
        np.asarray(sky.data.field(name)[0], dtype=np.float64)
        for name in ("ALLSKY", "YINTERP", "XINTERP")
    )
    if coarse.ndim != 2 or min(coarse.shape) < 2 or (y.size, x.size) != shape:
        raise MosaicError(
            f"{path} has a sky {coarse.shape} for ({y.size}, {x.size}) pixels and an image "
            f"{shape}; fetch it again, or take reader 'fits'"
        )
    # NaN fails these comparisons, as it should.
    if not (np.isfinite(coarse).all() and (np.diff(y) >= 0).all() and (np.diff(x) >= 0).all()):
        raise MosaicError(
            f"{path} has damaged numbers in its sky (HDU {SKY_HDU}); fetch it again, or take "
            "reader 'fits'"
        )
    return _NoisePlanes(calibration.data, coarse, y, x)
