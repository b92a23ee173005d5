"""The image on which sources are found: all bands in one, in units of its own noise.

Owns the combination of bands and its smoothing. Does not own the sky (``sky_mesh``), nor what is
a source (``segments``).

Each band is divided by its noise, and a pixel's value is the sum over the bands that have data
there over the root of their number: unit noise, however many bands there are. It is then smoothed
with a Gaussian as wide as the seeing, the best filter for a faint star, and divided by the noise
that is left. A value depends on the pixels around it and on nothing else, so it is the same to the
last bit in every window.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.ndimage import convolve1d

from survey_classifier.errors import SourcesError
from survey_classifier.geometry import Box, TileGrid
from survey_classifier.mosaic.psf import matching_kernel
from survey_classifier.sources.sky_mesh import MAD_TO_SIGMA, Pixels, SkyMesh, unseen

__all__ = ["DetectionImage", "Seen", "detection_image", "grown", "smoothed"]

Plane = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]

FWHM_PER_SIGMA = 2.3548
UNKNOWN_SEEING_PX = 3.0
"""Width of the filter where no band says its seeing."""
MIN_WEIGHT = 0.5
"""Share of the filter that must fall on data."""
N_SAMPLES = 256
"""Places at which the noise of the smoothed image is measured."""
SAMPLE_PX = 64
"""Their side: the sky has no slope in so few pixels."""
N_CLIPS, CLIP_SIGMA = 4, 2.5
"""How often and how far above the median pixels are left out of it."""
HIDDEN_SIGMA = 2.5
"""Pixels of such a significance are no sky."""


def grown(box: Box, margin_px: int) -> Box:
    """Return a box with a margin around it."""
    return Box(box.y0 - margin_px, box.y1 + margin_px, box.x0 - margin_px, box.x1 + margin_px)


def smoothed(plane: Plane, kernel: FloatArray) -> Plane:
    """Return an image convolved with a kernel along both axes, with zeros beyond its rim."""
    for axis in (0, 1):
        plane = convolve1d(plane, kernel, axis=axis, mode="constant")
    return plane


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A box of the detection image, both of shape ``(y, x)``."""

    light: Plane
    """Bands combined, noise 1, not smoothed; 0 where there is no data."""
    significance: Plane
    """The same, smoothed, noise 1; 0 where most of the filter lies on no data."""
    dark: npt.NDArray[np.bool_]
    """Where no band has data."""


@dataclass(frozen=True, eq=False)
class DetectionImage:
    """The detection image of a mosaic; made by `detection_image`."""

    mosaic: Pixels
    bands: tuple[str, ...]
    mesh: SkyMesh
    kernel: FloatArray
    """One axis of the filter, odd."""
    noise: float = 1.0
    """Noise after smoothing over that of independent pixels."""

    def see(self, box: Box) -> Seen:
        """Return the image in a box, which may stick out of the mosaic."""
        margin = len(self.kernel) // 2
        around = grown(box, margin)
        light, seen_in = self._combined(around)
        # The weight that is lost, not that which is left: exactly 0 far from every gap.
        whole = float((self.kernel**2).sum()) ** 2
        left = np.full(around.shape, whole, dtype=np.float32)
        if not seen_in.all():
            left -= smoothed((seen_in == 0).astype(np.float32), self.kernel**2)
        significance = smoothed(light, self.kernel)
        enough = left >= MIN_WEIGHT * whole
        scale = np.sqrt(left, out=np.ones_like(left), where=enough) * np.float32(self.noise)
        significance = np.where(enough, significance / scale, np.float32(0))
        inner = box.shifted(-around.y0, -around.x0).slices
        # sep takes whole arrays only.
        return Seen(light[inner].copy(), significance[inner].copy(), seen_in[inner] == 0)

    def hides(self, box: Box) -> npt.NDArray[np.bool_]:
        """Return which pixels of a box have light of sources; see `Hides`."""
        return self.see(box).significance > HIDDEN_SIGMA

    def _combined(self, box: Box) -> tuple[Plane, npt.NDArray[np.uint8]]:
        """Return the bands in one, and how many have data in each pixel."""
        total = np.zeros(box.shape, dtype=np.float32)
        seen_in = np.zeros(box.shape, dtype=np.uint8)
        for band in self.bands:
            block = self.mosaic.read(box, [band])
            level, rms = self.mesh.sky(box, band)
            good = ~unseen(block.mask[0])
            total += np.where(good, (block.flux[0] - level) / rms, np.float32(0))
            seen_in += good
        total /= np.sqrt(np.maximum(seen_in, 1), dtype=np.float32)
        return total, seen_in


def detection_image(mosaic: Pixels, bands: Sequence[str], mesh: SkyMesh) -> DetectionImage:
    """Make the detection image of a mosaic.

    Its noise is measured at places spread over the mosaic: that of neighboring pixels is not
    independent where an image was resampled.

    Parameters
    ----------
    mosaic
        Where the pixels are.
    bands
        Which bands to combine.
    mesh
        Its sky.

    Raises
    ------
    SourcesError
        If no place has data.
    """
    seeing = [band.psf_fwhm_arcsec for band in mosaic.bands
              if band.name in bands and band.psf_fwhm_arcsec]  # fmt: skip
    fwhm_px = float(np.mean(seeing)) / mosaic.scale_arcsec if seeing else UNKNOWN_SEEING_PX
    kernel = matching_kernel(fwhm_px / FWHM_PER_SIGMA)
    image = DetectionImage(mosaic, tuple(bands), mesh, kernel)
    noise = [_noise(image.see(box)) for box in _sample(mosaic.shape)]
    known = [value for value in noise if np.isfinite(value)]
    if not known:
        raise SourcesError(f"{mosaic.name} has no pixels with data in {', '.join(bands)}")
    return replace(image, noise=float(np.median(known)))


def _sample(shape: tuple[int, int]) -> list[Box]:
    """Return boxes spread evenly over a mosaic."""
    cells = [tile.core for tile in TileGrid(shape, SAMPLE_PX).tiles()]
    # Steps of the golden ratio do not fall into line with the columns.
    order = np.argsort((np.arange(len(cells)) * 0.6180339887498949) % 1, kind="stable")
    return [cells[index] for index in np.sort(order[:N_SAMPLES])]


def _noise(seen: Seen) -> float:
    """Return the noise of a box by what lies below the median: sources are above."""
    known = seen.significance[seen.significance != 0]
    if len(known) < seen.significance.size // 2:
        return np.nan
    for _ in range(N_CLIPS):
        middle = np.median(known)
        noise = MAD_TO_SIGMA * float(np.median(middle - known[known <= middle]))
        known = known[known <= middle + CLIP_SIGMA * noise]
    return noise
