"""Simulated survey files through the ingest and back: that sky, those flaws, one file a pixel."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.synthetic.survey import SURVEYS, simulate_survey
from tests.survey_oracle import (
    Circle,
    Claims,
    Seen,
    ingested,
    mask_of,
    njy_per_count,
    offset_of,
    radius_of,
    tag,
)
from tests.test_synthetic_surveys import Image, read_csv

PATCH_PX = 250
SIZES = {
    "hsc": {"size_px": 400, "tile_px": PATCH_PX, "overlap_px": 15, "bands": ["r"]},
    "euclid-mer": {"size_px": 700, "tile_px": 420, "overlap_px": 40, "bands": ["VIS"]},
    "euclid-ero": {"size_px": 900, "bands": ["VIS", "Y"]},
    "sdss": {"size_px": 320, "tile_px": 440, "overlap_px": 30, "bands": ["r"]},
}
OWN = {
    survey: {
        "store": "own.zarr", "size_px": [side, side], "scale_arcsec": scale,
        "center_deg": [float(angle) for angle in SURVEYS[survey].center_deg],
    }
    for survey, side, scale in (("hsc", 380, 0.2), ("euclid-mer", 800, 0.1), ("sdss", 440, 0.3))
}  # fmt: skip
VARIANTS = {
    ("hsc", "a store a tract"): {
        "store": "{tract}.zarr",
        "inputs": [
            {
                "reader": "hsc", "path": "calexp-HSC-R-{tract}-*.fits", "band": "r",
                "patch_inner_px": PATCH_PX, "patch_border_px": 15,
            }
        ],
    },
    ("hsc", "both tracts on one grid"): {},
    ("hsc", "own grid"): OWN["hsc"],
    ("euclid-mer", "a store a tile"): {},
    ("euclid-mer", "own grid"): OWN["euclid-mer"],
    ("euclid-ero", "infrared on the visible grid"): {},
    ("sdss", "frames on one grid"): {"scale_arcsec": "native"},
    ("sdss", "own grid"): OWN["sdss"],
}  # fmt: skip
"""Keys of the ``[mosaic]`` table by what they make of a survey's files."""
EVERY = sorted(VARIANTS)
ON_PATCHES = [key for key in EVERY if key[0] in ("hsc", "euclid-mer")]
COPIED = [
    ("hsc", "a store a tract"), ("euclid-mer", "a store a tile"),
    ("euclid-ero", "infrared on the visible grid"), ("sdss", "frames on one grid"),
]  # fmt: skip
"""Where all images of a grid or the first of them lend the mosaic their grid."""
CARRIED = MaskBit.NO_DATA | MaskBit.SATURATED | MaskBit.COSMIC_RAY | MaskBit.BRIGHT_STAR
WITH_VARIANCE = [key for key in EVERY if key[0] != "euclid-ero"]


class Lab:
    """Simulated surveys and the mosaics made of them, each made once."""

    def __init__(self, folder):
        self.folder = folder
        self._simulated, self._numbers, self._seen, self._owners = {}, {}, {}, {}

    def simulated(self, survey, kind):
        """A survey, ``noisy``, ``pure``, or ``tagged``: each image has its own number as value."""
        key = survey, kind
        if key not in self._simulated:
            folder = self.folder / f"{survey}-{kind}"
            if kind == "tagged":
                noisy = self.simulated(survey, "noisy")
                self._numbers[survey] = tag(noisy, survey, folder)
                self._simulated[key] = replace(noisy, folder=folder)
            else:
                noise = kind == "noisy"
                self._simulated[key] = simulate_survey(
                    folder, survey, seed=5, noise=noise, **SIZES[survey]
                )
        return self._simulated[key]

    def seen(self, variant, kind):
        """Every band of every mosaic."""
        key = variant, kind
        if key not in self._seen:
            simulated = self.simulated(variant[0], kind)
            self._seen[key] = [
                Seen(mosaic, band.name, variant[0], simulated.sky)
                for mosaic in ingested(simulated, **VARIANTS[variant])
                for band in mosaic.bands
            ]
        return self._seen[key]

    def numbers(self, survey):
        """The number of each file that is to be used, by name."""
        self.simulated(survey, "tagged")
        return self._numbers[survey]

    def files(self, survey, seen):
        """``(number, path)`` of the files of a mosaic's band."""
        (band,) = (band for band in seen.mosaic.bands if band.name == seen.band.name)
        folder = self.simulated(survey, "noisy").folder
        numbers = self.numbers(survey)
        return [(numbers[name], folder / name) for name in band.source_files]

    def owners(self, variant):
        """The number of the file that each pixel is of, or 0, for every band of every mosaic."""
        if variant not in self._owners:
            self._owners[variant] = [owner_of(seen) for seen in self.seen(variant, "tagged")]
        return self._owners[variant]


def owner_of(seen):
    """Return the numbers that a mosaic of tagged files holds."""
    area = (seen.plane.scale_arcsec / seen.band.filter.scale_arcsec) ** 2
    value = np.nan_to_num(seen.flux / (seen.njy_per_count * area))
    owner = np.rint(value).astype(int)
    # What came from two files would be no whole number. Pixels of a plane differ a little in area.
    np.testing.assert_allclose(value, owner, rtol=1e-3)
    return owner


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return Lab(tmp_path_factory.mktemp("surveys"))


@pytest.mark.parametrize("variant", EVERY, ids=": ".join)
def test_every_pixel_is_of_the_one_file_that_the_survey_gives_it_to(lab, variant):
    used = set()
    for seen, owner in zip(lab.seen(variant, "tagged"), lab.owners(variant), strict=True):
        files = lab.files(variant[0], seen)
        expected = Claims(seen.mosaic, files, variant[0], PATCH_PX).owner
        sure = expected >= 0
        assert sure.mean() > 0.85
        np.testing.assert_array_equal(owner[sure], expected[sure])
        used |= set(np.unique(owner))
    every = set(lab.numbers(variant[0]).values())
    assert used - {0} == every if variant[1] != "own grid" else len(used & every) > 1


@pytest.mark.parametrize("variant", COPIED, ids=": ".join)
def test_pixels_on_the_files_own_grid_are_copied_bit_for_bit(lab, variant):
    n_copied = 0
    for seen, owner in zip(lab.seen(variant, "noisy"), lab.owners(variant), strict=True):
        for number, path in lab.files(variant[0], seen):
            image = Image(variant[0], path)
            offset = offset_of(seen.mosaic, image)
            if offset is None:
                continue
            here = np.nonzero(owner == number)
            there = here[0] - offset[0], here[1] - offset[1]
            factor = np.float32(njy_per_count(image))
            expected = image.flux[there].astype(np.float32) * factor
            np.testing.assert_array_equal(seen.flux[here], expected)
            carried = seen.mask[here] & np.uint8(CARRIED)
            np.testing.assert_array_equal(carried, mask_of(image)[there] & np.uint8(CARRIED))
            if hasattr(image, "variance"):
                expected = image.variance[there] * float(factor) ** 2
                np.testing.assert_allclose(seen.variance[here], expected, rtol=1e-6)
            n_copied += len(here[0])
        np.testing.assert_array_equal(np.isnan(seen.flux), owner == 0)
        empty = (seen.mask & np.uint8(MaskBit.NO_DATA)) != 0
        np.testing.assert_array_equal(empty, owner == 0)
        if seen.variance is not None:
            np.testing.assert_array_equal(np.isnan(seen.variance), owner == 0)
    assert n_copied > 0.4 * owner.size


@pytest.mark.parametrize("variant", EVERY, ids=": ".join)
def test_stars_are_where_they_were_put_with_their_flux(lab, variant):
    n_stars = 0
    for seen in lab.seen(variant, "pure"):
        radius_px = radius_of(seen)
        for x, y, flux in zip(*seen.objects("star"), strict=True):
            circle = Circle(seen, x, y, radius_px)
            if not circle.is_good or not 0.9 * flux < circle.sum(seen.light) < 1.03 * flux:
                continue  # saturated, at a rim, or in another object's light
            if abs(circle.sum(seen.blurred) - circle.sum(seen.light)) > 2e-4 * flux:
                continue  # another object's light lies at the circle's rim
            assert abs(circle.sum(seen.flux) - circle.sum(seen.light)) < 1e-3 * flux
            off = circle.centroid(seen.flux) - circle.centroid(seen.light)
            assert np.hypot(*off) < 0.02
            n_stars += 1
    assert n_stars >= 5


@pytest.mark.parametrize("variant", WITH_VARIANCE, ids=": ".join)
def test_noise_is_as_large_as_the_variance_says(lab, variant):
    """Sums over 8 x 8 px against their neighbors: the sky's residual is smooth on that scale."""
    for seen, pure in zip(lab.seen(variant, "noisy"), lab.seen(variant, "pure"), strict=True):
        good = seen.usable & pure.usable & np.isfinite(seen.variance)
        good &= ((seen.mask | pure.mask) & np.uint8(MaskBit.COSMIC_RAY)) == 0
        total, variance, n = (
            blocks(np.where(good, plane, 0.0))
            for plane in (seen.flux - pure.flux, seen.variance, 1.0)
        )
        contrast = total[:, 1:-1] - (total[:, :-2] + total[:, 2:]) / 2
        expected = variance[:, 1:-1] + (variance[:, :-2] + variance[:, 2:]) / 4
        whole = (n[:, 1:-1] == 64) & (n[:, :-2] == 64) & (n[:, 2:] == 64)
        assert whole.sum() > 500
        pulls = contrast[whole] / np.sqrt(expected[whole])
        # Frames of SDSS do not say which pixels are saturated.
        spread = 1.4826 * np.median(np.abs(pulls))
        # Where it was resampled, noise is shared with the pixels around the sum.
        assert 0.86 < spread < 1.08
        if variant[1].startswith("a store a"):
            assert spread > 0.94


def blocks(plane):
    """Sums over blocks of 8 x 8."""
    ny, nx = (side // 8 * 8 for side in plane.shape)
    return plane[:ny, :nx].reshape(ny // 8, 8, nx // 8, 8).sum(axis=(1, 3))


@pytest.mark.parametrize("variant", WITH_VARIANCE, ids=": ".join)
def test_noisy_fluxes_of_stars_are_right_within_their_errors(lab, variant):
    pulls = []
    for seen, pure in zip(lab.seen(variant, "noisy"), lab.seen(variant, "pure"), strict=True):
        residual = seen.flux - pure.flux
        for x, y, _ in zip(*seen.objects("star"), strict=True):
            inner, outer = Circle(seen, x, y, 4.0), Circle(seen, x, y, 8.0)
            # Frames of SDSS do not say which pixels are saturated.
            if not outer.is_good or pure.flux[outer.box.slices].max() > 0.5 * seen.saturated_njy:
                continue
            sky = np.median(residual[outer.box.slices][outer.ring(5.0)])
            error = inner.sum(residual) - sky * inner.share.sum()
            pulls.append(error / np.sqrt(inner.sum(seen.variance)))
    assert len(pulls) > 10
    assert 0.6 < 1.4826 * np.median(np.abs(pulls)) < 1.5
    # Frames of SDSS do not say either where cosmic rays hit them.
    assert variant[0] == "sdss" or np.abs(pulls).max() < 5


@pytest.mark.parametrize("variant", ON_PATCHES, ids=": ".join)
def test_flaws_are_where_they_were_put(lab, variant):
    """In a pixel that is of the plate with the flaw; a resampled one may only be suspect."""
    survey, found = variant[0], set()
    rows = read_csv(lab.simulated(survey, "noisy").flaws)
    for seen, owner in zip(lab.seen(variant, "noisy"), lab.owners(variant), strict=True):
        plates = {n: Image(survey, path).plate for n, path in lab.files(survey, seen)}
        for row in rows:
            here = seen.circle(float(row["ra"]), float(row["dec"]), float(row["radius_arcsec"]))
            own = [number for number, plate in plates.items() if plate == row["plate"]]
            is_own = np.isin(owner[here], [0, *own])
            bits = seen.mask[here][is_own]
            allowed = MaskBit[row["flaw"]]
            if float(row["radius_arcsec"]) == 0 and not variant[1].startswith("a store a"):
                allowed |= MaskBit.SUSPECT
            assert (bits & np.uint8(allowed) != 0).all(), row
            found |= {row["flaw"]} if (bits & np.uint8(MaskBit[row["flaw"]])).any() else set()
    assert found == {"NO_DATA", "SATURATED", "COSMIC_RAY", "BRIGHT_STAR"}


def test_a_newer_version_of_a_tile_takes_the_place_of_the_older(lab, tmp_path):
    simulated = lab.simulated("euclid-mer", "noisy")
    early, late = (replace(simulated, folder=tmp_path / name) for name in ("early", "late"))
    shutil.copytree(simulated.folder, early.folder, ignore=shutil.ignore_patterns("*.zarr"))
    shutil.copytree(simulated.folder, late.folder, ignore=shutil.ignore_patterns("*.zarr"))
    tile = next(path.name for path in simulated.images if "_2023" in path.name).split("TILE")[1][:9]
    for path in early.images:
        if f"TILE{tile}" in path.name and "_2023" not in path.name:
            path.unlink()
    before, after = ingested(early), ingested(late)
    assert before[0].digest != after[0].digest
    assert [m.digest for m in before[1:]] == [m.digest for m in after[1:]]
    for path in late.images:
        shutil.copy(path, early.folder)
    for mosaic, expected in zip(ingested(early), after, strict=True):
        assert mosaic.digest == expected.digest
        assert not any("_2023" in file for band in mosaic.bands for file in band.source_files)
