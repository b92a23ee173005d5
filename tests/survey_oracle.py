"""What a mosaic of simulated survey files must hold, found without the ingest.

Files are read with astropy alone (`tests.test_synthetic_surveys.Image`), light is drawn by the
simulator on the mosaic's own grid, and which file a pixel is of is decided by brute force: every
pixel's position on every file.
"""

import bz2
import io
import shutil
import tomllib
from functools import cached_property

import numpy as np
from astropy.io import fits
from scipy.ndimage import binary_erosion, gaussian_filter

from survey_classifier.geometry import Box
from survey_classifier.mosaic.ingest import ingest_mosaics
from survey_classifier.mosaic.mosaic_settings import MosaicSettings
from survey_classifier.mosaic.pixels import UNUSABLE, MaskBit
from survey_classifier.synthetic.plane import TangentPlane
from survey_classifier.synthetic.plate import view
from survey_classifier.synthetic.survey import SURVEYS
from tests.test_synthetic_surveys import Image

NJY_ZERO_POINT = 31.4
IMAGE_HDU = {"hsc": 1}
SAME_GRID_PX = 1e-3
BESIDE = np.ones((3, 3), dtype=bool)
NEAR_PX = 0.01
"""Positions this near to the border of two pixels may count as either's."""


def ingested(simulated, **changes):
    """Return the mosaics of a simulated survey's run file with other keys in its table."""
    table = tomllib.loads(simulated.run_file.read_text())["mosaic"]
    return ingest_mosaics(MosaicSettings.model_validate(table | changes), simulated.folder)


def newest(paths):
    """Return the image files that are to be used: of a MER tile not the planes nor the older."""
    return [
        path
        for path in paths
        if "_2023" not in path.name and not path.name.startswith("EUC_MER_MOSAIC")
    ]


def njy_per_count(image):
    """Return the unit of a file."""
    return 10 ** (0.4 * (NJY_ZERO_POINT - image.zero_point))


def tag(simulated, survey, folder):
    """Copy a survey with a number of its own as the value of each image, NaN and 0 as they are.

    Returns
    -------
    dict
        The number of each file that is to be used, by name.
    """
    shutil.copytree(simulated.folder, folder)
    for number, path in enumerate(simulated.images, start=1):
        if path.name.startswith("EUC_MER_MOSAIC"):
            continue
        with fits.open(path, memmap=False) as hdus:
            data = hdus[IMAGE_HDU.get(survey, 0)].data
            data[np.isfinite(data) & (data != 0)] = number
            file = io.BytesIO()
            hdus.writeto(file)
        content = file.getvalue()
        content = bz2.compress(content) if path.suffix == ".bz2" else content
        (folder / path.name).write_bytes(content)
    names = {path.name for path in newest(simulated.images)}
    return {p.name: n for n, p in enumerate(simulated.images, start=1) if p.name in names}


class Seen:
    """One band of a mosaic, with what the simulator says of it."""

    def __init__(self, mosaic, band, survey, sky):
        self.mosaic, self.sky = mosaic, sky
        self.band = SURVEYS[survey].bands[band]
        whole = Box(0, mosaic.shape[0], 0, mosaic.shape[1])
        block = mosaic.read(whole, (band,))
        self.flux, self.mask = block.flux[0], block.mask[0]
        (info,) = (info for info in mosaic.bands if info.name == band)
        self.variance = mosaic.read_variance(whole, band) if info.has_variance else None

    @property
    def usable(self):
        return (self.mask & np.uint8(UNUSABLE)) == 0

    @cached_property
    def plane(self):
        """The mosaic's grid as the simulator's own projection."""
        wcs, step = self.mosaic.wcs.wcs, self.mosaic.wcs.pixel_scale_matrix
        return TangentPlane(
            self.mosaic.shape, float(np.hypot(*step[1]) * 3600), *map(float, wcs.crval),
            *(float(pixel) - 1 for pixel in wcs.crpix), float(np.degrees(np.arctan2(*step[1]))),
        )  # fmt: skip

    @cached_property
    def njy_per_count(self):
        return 10 ** (0.4 * (NJY_ZERO_POINT - self.band.filter.zero_point))

    @cached_property
    def light(self):
        """The sky's light on the mosaic's grid, nJy."""
        drawn = view(self.sky, self.band, noise=False).light(self.plane)
        return drawn.astype(np.float64) * self.njy_per_count

    @cached_property
    def blurred(self):
        """The same as blurred as it is where it was resampled: half a pixel of the file."""
        return gaussian_filter(
            self.light, 0.5 * self.band.filter.scale_arcsec / self.plane.scale_arcsec
        )

    @property
    def saturated_njy(self):
        """What a pixel of the mosaic holds where one of the file would be saturated."""
        area = (self.plane.scale_arcsec / self.band.filter.scale_arcsec) ** 2
        return self.band.filter.saturation * self.njy_per_count * area

    def circle(self, ra, dec, radius_arcsec):
        """Index of the pixels well within a circle, or of that of its center if it is a point."""
        x, y = self.plane.world_to_pixel(np.array([ra]), np.array([dec]))
        ny, nx = self.mosaic.shape
        if radius_arcsec == 0:
            column, row = np.rint(x).astype(int), np.rint(y).astype(int)
            on = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
            return row[on], column[on]
        distance = np.hypot(np.arange(nx) - x[0], (np.arange(ny) - y[0])[:, None])
        return np.nonzero(distance < radius_arcsec / self.plane.scale_arcsec - 1)

    def objects(self, kind):
        """Return ``(x, y, flux)`` of all objects of a true class, brightest first."""
        scene = self.sky.scene
        x, y = self.sky.on(self.plane, scene.x_px, scene.y_px)
        flux = 10 ** (0.4 * (NJY_ZERO_POINT - self.sky.mag(self.band)))
        order = np.argsort(-flux)
        order = order[scene.population.true_class[order] == kind]
        return x[order], y[order], flux[order]


class Circle:
    """The pixels around a position, those at the rim by their share."""

    def __init__(self, seen, x, y, radius_px):
        half = int(radius_px) + 2
        x0, y0 = round(x) - half, round(y) - half
        self.box = Box(y0, y0 + 2 * half + 1, x0, x0 + 2 * half + 1)
        yy, xx = np.mgrid[y0 : self.box.y1, x0 : self.box.x1]
        self.dx, self.dy = xx - x, yy - y
        distance = np.hypot(self.dx, self.dy)
        self.share = np.clip(radius_px + 0.5 - distance, 0, 1)
        self.weight = np.exp(-0.5 * (4 * distance / radius_px) ** 2)
        ny, nx = seen.mosaic.shape
        on = x0 >= 0 and y0 >= 0 and self.box.x1 <= nx and self.box.y1 <= ny
        self.is_good = on and bool(seen.usable[self.box.slices][self.share > 0].all())

    def ring(self, inner_px):
        """Where the pixels are that lie farther out than some radius."""
        return (self.share == 1) & (np.hypot(self.dx, self.dy) > inner_px)

    def sum(self, plane):
        return float((self.share * self._cut(plane)).sum())

    def centroid(self, plane):
        """Return the offset ``(dx, dy)`` of the light within a quarter of the radius or so."""
        light = self.weight * (self.share > 0) * self._cut(plane)
        return np.array([(light * self.dx).sum(), (light * self.dy).sum()]) / light.sum()

    def _cut(self, plane):
        return np.where(self.share > 0, plane[self.box.slices].astype(np.float64), 0.0)


def offset_of(mosaic, image):
    """Return ``(dy, dx)`` of a file's first pixel on a mosaic, None where they differ in grid."""
    ny, nx = image.flux.shape
    x, y = np.array([0.0, nx - 1, 0, nx - 1]), np.array([0.0, 0, ny - 1, ny - 1])
    there = mosaic.wcs.all_world2pix(*image.wcs.all_pix2world(x, y, 0), 0)
    dx, dy = there[0] - x, there[1] - y
    whole = round(dy[0]), round(dx[0])
    off = np.abs([dy - whole[0], dx - whole[1]])
    return whole if (off < SAME_GRID_PX).all() else None


def mask_of(image):
    """Return what a file's planes of flaws are as `MaskBit`, where they are carried."""
    return sum(
        (plane != 0) * np.uint8(MaskBit[name]) for name, plane in image.flaws.items()
    ) * np.ones(image.flux.shape, dtype=np.uint8)


def radius_of(seen):
    """Return an aperture that holds nearly all of a star, in pixels of the mosaic."""
    return max(4 * seen.band.filter.seeing_arcsec / seen.plane.scale_arcsec, 8)


class Claims:
    """Which file each pixel of a mosaic must be of, by brute force over all files."""

    def __init__(self, mosaic, files, survey, patch_px=0):
        y, x = np.mgrid[0 : mosaic.shape[0], 0 : mosaic.shape[1]]
        self.mosaic = mosaic
        sky = mosaic.wcs.all_pix2world(x.ravel(), y.ravel(), 0)
        self.shape, self.survey, self.patch_px = mosaic.shape, survey, patch_px
        self.tract = rings_tract(*sky) if survey == "hsc" else None
        self.best = np.zeros(len(sky[0]), dtype=int)
        self.depth = np.full(len(sky[0]), -np.inf)
        self.is_own = np.zeros(len(sky[0]), dtype=bool)
        self.is_sure = np.ones(len(sky[0]), dtype=bool)
        for number, path in files:
            self._offer(number, Image(survey, path), sky)

    @property
    def owner(self):
        """Number of the file, 0 where none has data, -1 where that hangs on rounding."""
        return np.where(self.is_sure, self.best, -1).reshape(self.shape)

    def _offer(self, number, image, sky):
        x, y = image.wcs.all_world2pix(*sky, 0)
        ny, nx = image.flux.shape
        on = (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)
        around = (np.abs(x - nx / 2) < nx) & (np.abs(y - ny / 2) < ny)
        for axis in (x, y):
            self.is_sure &= ~(around & (np.abs(axis - np.floor(axis) - 0.5) < NEAR_PX))
        column, row = (np.where(on, np.floor(a + 0.5), 0).astype(int) for a in (x, y))
        is_copied = offset_of(self.mosaic, image) is not None
        good = good_pixels(image, is_copied=is_copied)
        has_data = on & good[row, column]
        if not is_copied:
            # On a coarser grid most of what a pixel covers decides.
            even = binary_erosion(good, BESIDE) | binary_erosion(~good, BESIDE, border_value=1)
            self.is_sure &= ~on | even[row, column]
        own = has_data & self._in_core(image, column, row)
        scale_arcsec = np.sqrt(np.abs(np.linalg.det(image.wcs.pixel_scale_matrix))) * 3600
        depth = scale_arcsec * np.minimum(np.minimum(x, nx - 1 - x), np.minimum(y, ny - 1 - y))
        close = has_data & (np.abs(depth - self.depth) < NEAR_PX * scale_arcsec)
        self.is_sure &= own | self.is_own | ~close
        better = own | (has_data & ~self.is_own & (depth > self.depth))
        self.best[better], self.depth[better] = number, depth[better]
        self.is_own |= own

    def _in_core(self, image, column, row):
        """Whether pixels of a patch are in its inner region, and the tract's own."""
        if self.tract is None:
            return False
        name = image.path.name.removesuffix(".fits").split("-")
        index = tuple(int(number) for number in name[4].split(","))
        in_tract = (
            column + int(image.header["CRVAL1A"]), row + int(image.header["CRVAL2A"]),
        )  # fmt: skip
        inner = (in_tract[0] // self.patch_px == index[0]) & (
            in_tract[1] // self.patch_px == index[1]
        )
        return inner & (self.tract == int(name[3]))


def good_pixels(image, *, is_copied):
    """Which pixels of a file have a value; where it is resampled, saturated ones have none."""
    good = np.isfinite(image.flux)
    if "NO_DATA" in image.flaws:
        good &= image.flaws["NO_DATA"] == 0
    if not is_copied and "SATURATED" in image.flaws:
        good &= image.flaws["SATURATED"] == 0
    return good


def rings_tract(ra_deg, dec_deg):
    """Number of the tract of positions: 120 rings, numbered eastward and northward from 1."""
    height = 180 / 121
    ring = np.floor((dec_deg + 90 - height / 2) / height).astype(int)
    edges = (np.arange(121) + 0.5) * height - 90
    widest = np.minimum(np.abs(edges[:-1]), np.abs(edges[1:]))
    count = np.floor(2 * np.pi * np.cos(np.radians(widest)) / np.radians(height)).astype(int) + 1
    below = np.concatenate([[0], np.cumsum(count)])
    return below[ring] + np.floor(ra_deg * count[ring] / 360 + 0.5).astype(int) % count[ring] + 1
