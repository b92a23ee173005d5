"""Sources from nothing, on a sky whose sources are known and under every tile size."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree
from scipy.stats import median_abs_deviation

from survey_classifier.errors import MosaicError, SourcesError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.array_mosaic import ArrayMosaic
from survey_classifier.mosaic.pixels import BandInfo, MaskBit
from survey_classifier.sources import segments as segments_module
from survey_classifier.sources.apertures import magnitudes
from survey_classifier.sources.detect import common_seeing, detect
from survey_classifier.sources.detection import (
    FLAG_SENTENCES,
    DetectionFlag,
    DetectSettings,
    source_names,
)
from survey_classifier.sources.pointlike import point_likeness
from survey_classifier.sources.sky_mesh import CellRow, SkyMesh

SCALE, TURN_DEG = 0.2, 30.0
SHAPE = (640, 900)
SEEING = {"g": 1.0, "i": 0.7}
NOISE = {"g": 1.0, "i": 2.0}
HOLE = (slice(300, 340), slice(500, 560))
SATURATED = (slice(98, 103), slice(98, 103))
GIANT = (470.0, 250.0, 35.0)
"""x, y and half-light radius of a galaxy that reaches over several small tiles."""
FINE = DetectSettings(background_arcsec=25.6)


def grid(mirrored=False):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [49.95, -10.0]
    wcs.wcs.crpix = [450.0, 320.0]
    turn = np.radians(TURN_DEG)
    step = SCALE / 3600
    wcs.wcs.cd = step * np.array(
        [[-np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    ) @ np.diag([-1 if mirrored else 1, 1])  # fmt: skip
    return wcs


class Sky:
    """Stars, round exponential galaxies and one stretched one, all of known light."""

    def __init__(self, seed=3, n_stars=90, n_galaxies=60):
        rng = np.random.default_rng(seed)
        places = np.stack(np.meshgrid(np.arange(30, 880, 62), np.arange(30, 620, 56)), -1)
        places = places.reshape(-1, 2) + rng.uniform(-8, 8, (places.size // 2, 2))
        places = rng.permutation(places)[: n_stars + n_galaxies]
        self.x, self.y = places.T
        self.star = np.arange(len(places)) < n_stars
        self.flux_i = 10 ** rng.uniform(2.6, 4.5, len(places))
        self.flux = {"i": self.flux_i, "g": self.flux_i * rng.uniform(0.3, 1.2, len(places))}
        self.radius_px = np.where(self.star, 0, rng.uniform(3, 6, len(places)))

    def light(self, band):
        """Return the noiseless image: Gaussians, with which everything can be worked out."""
        image = np.zeros(SHAPE)
        sigma = SEEING[band] / SCALE / 2.3548
        rows, cols = np.indices(SHAPE, dtype=float)
        for x, y, flux, radius in zip(self.x, self.y, self.flux[band], self.radius_px, strict=True):
            s2 = sigma**2 + radius**2
            cut = tuple(slice(max(0, int(c) - 45), int(c) + 46) for c in (y, x))
            r2 = (rows[cut] - y) ** 2 + (cols[cut] - x) ** 2
            image[cut] += flux / (2 * np.pi * s2) * np.exp(-r2 / (2 * s2))
        # The giant: stretched along the rows.
        x, y, radius = GIANT
        r2 = ((cols - x) / radius) ** 2 + ((rows - y) / (0.4 * radius)) ** 2
        image += 4e5 / (2 * np.pi * 0.4 * radius**2) * np.exp(-r2 / 2)
        return image

    def mosaic(self, seed=7, unit="nJy", noise=True):
        rng = np.random.default_rng(seed)
        bands = [BandInfo(b, unit, 31.4, SEEING[b]) for b in SEEING]
        slope = np.linspace(0, 8, SHAPE[1])
        flux = np.stack(
            [self.light(b) + slope + noise * NOISE[b] * rng.standard_normal(SHAPE) for b in SEEING]
        ).astype(np.float32)
        mask = np.zeros(flux.shape, dtype=np.uint8)
        flux[(slice(None), *HOLE)] = np.nan
        mask[(slice(None), *SATURATED)] = MaskBit.SATURATED
        mask[0, 400:600, 700:] |= np.uint8(MaskBit.BRIGHT_STAR)
        return ArrayMosaic("sky", bands, flux, grid(), mask)


@pytest.fixture(scope="module")
def sky():
    return Sky()


@pytest.fixture(scope="module")
def mosaic(sky):
    return sky.mosaic()


@pytest.fixture(scope="module")
def found(mosaic):
    return detect(mosaic, FINE)


def same(one, other):
    assert len(one) == len(other)
    assert list(one.columns) == list(other.columns)
    for name in one.columns:
        assert one[name].tobytes() == other[name].tobytes(), name


def in_the_open(sky):
    """Return the sources that no flaw and no other source is near."""
    giant = np.hypot((sky.x - GIANT[0]) / 4.5, (sky.y - GIANT[1]) / 2) < GIANT[2]
    hole = (abs(sky.x - 530) < 60) & (abs(sky.y - 320) < 50)
    saturated = np.hypot(sky.x - 100, sky.y - 100) < 25
    return ~giant & ~hole & ~saturated


def matched(sky, found, which):
    distance, row = KDTree(np.c_[found["x"], found["y"]]).query(np.c_[sky.x, sky.y][which])
    return distance, row


@pytest.mark.parametrize("tile_px", [128, 200, 333])
def test_the_list_is_the_same_to_the_last_bit_for_any_tile_size(mosaic, found, tile_px):
    settings = FINE.model_copy(update={"tile_px": tile_px})
    same(detect(mosaic, settings), found)


@pytest.mark.parametrize("limit_px", [64, 150])
def test_also_of_objects_larger_than_a_window(mosaic, monkeypatch, limit_px):
    monkeypatch.setattr(segments_module, "MARGIN_PX", 12)
    monkeypatch.setattr(segments_module, "LIMIT_PX", limit_px)
    lists = [
        detect(mosaic, FINE.model_copy(update={"tile_px": tile_px})) for tile_px in (900, 128, 210)
    ]
    raised = (lists[0]["detection_flags"] & DetectionFlag.RAISED) != 0
    assert raised.any()
    same(lists[1], lists[0])
    same(lists[2], lists[0])


def test_sources_are_found_once_where_they_are(sky, found):
    open_sky = in_the_open(sky)
    distance, row = matched(sky, found, open_sky)
    assert (distance < 1).all()
    assert np.median(distance) < 0.1
    assert len(set(row)) == open_sky.sum()
    apart, _ = KDTree(np.c_[found["x"], found["y"]]).query(np.c_[found["x"], found["y"]], k=2)
    assert apart[:, 1].min() > 2
    # Nothing but the sources, the giant, and ten a million pixels by chance.
    assert len(found) <= len(sky.x) + 12


def test_total_fluxes_hold_nearly_all_light(sky, found):
    which = in_the_open(sky) & (sky.flux_i > 3000)
    _, row = matched(sky, found, which)
    for band in SEEING:
        share = found[f"flux_{band}"][row] / sky.flux[band][which]
        assert 0.96 < np.median(share) < 1.005
        assert abs(share - np.median(share)).max() < 0.1


def test_matched_apertures_hold_the_same_share_in_every_band_and_their_errors_are_right(sky, found):
    stars = in_the_open(sky) & sky.star
    _, row = matched(sky, found, stars)
    sigma = max(SEEING.values()) / 2.3548
    share = 1 - np.exp(-(1.0**2) / (2 * sigma**2))  # of a Gaussian, in a radius of 1 arcsec
    for band in SEEING:
        expected = share * sky.flux[band][stars]
        pull = (found[f"flux_aper_{band}"][row] - expected) / found[f"fluxerr_aper_{band}"][row]
        faint = expected < 3000  # there the noise counts, and not the pixels' corners
        # Wings too faint to be hidden pull the sky up a little, so all are a little too faint.
        assert -0.9 < np.median(pull[faint]) < 0.3
        assert 0.6 < median_abs_deviation(pull[faint], scale="normal") < 1.4
        np.testing.assert_allclose(
            (found[f"flux_aper_{band}"][row] / expected)[~faint], 1, atol=0.02
        )


def test_without_known_seeing_apertures_are_not_matched(sky):
    mosaic = sky.mosaic(noise=True)
    mosaic.bands = tuple(BandInfo(b.name, b.unit) for b in mosaic.bands)
    assert common_seeing(mosaic.bands) is None
    found = detect(mosaic, FINE)
    stars = in_the_open(sky) & sky.star & (sky.flux_i > 5000)
    distance, row = matched(sky, found, stars)
    assert (distance < 0.6).all()
    ratio = found["flux_aper_g"][row] / found["flux_aper_i"][row]
    too_red = ratio / (sky.flux["g"] / sky.flux["i"])[stars]
    assert np.median(too_red) < 0.95  # what the matching is for


def test_shapes(sky, found):
    stars = in_the_open(sky) & sky.star & (sky.flux_i > 3000)
    galaxies = in_the_open(sky) & ~sky.star & (sky.flux_i > 8000)
    _, row = matched(sky, found, stars)
    half_light = found["half_light_radius_arcsec"]
    seeing = 1.1774 * np.mean(list(SEEING.values())) / 2.3548
    assert abs(np.median(half_light[row]) - seeing) < 0.06
    _, row = matched(sky, found, galaxies)
    expected = 1.1774 * SCALE * np.hypot(sky.radius_px[galaxies], 0.85 / SCALE / 2.3548)
    np.testing.assert_allclose(half_light[row], expected, rtol=0.12)
    giant = np.argmin(np.hypot(found["x"] - GIANT[0], found["y"] - GIANT[1]))
    assert 0.5 < found["ellipticity"][giant] < 0.65


@pytest.mark.parametrize("mirrored", [False, True])
def test_position_angles_are_north_through_east(mosaic, mirrored):
    turned = ArrayMosaic("sky", mosaic.bands, mosaic._flux, grid(mirrored), mosaic._mask)
    found = detect(turned, FINE)
    giant = np.argmin(np.hypot(found["x"] - GIANT[0], found["y"] - GIANT[1]))
    # The giant lies along the rows: by astropy, from one of its ends to the other.
    ends = [SkyCoord(*turned.pixel_to_world(GIANT[0] + dx, GIANT[1]), unit="deg") for dx in (0, 5)]
    expected = ends[0].position_angle(ends[1]).deg % 180
    off = abs(found["position_angle"][giant] - expected)
    assert min(off, 180 - off) < 3


def test_stars_are_told_from_galaxies_and_the_locus_from_nothing(sky, found):
    open_sky = in_the_open(sky)
    _, row = matched(sky, found, open_sky)
    likeness, loci = point_likeness(found, ("g", "i"))
    star = sky.star[open_sky]
    assert (likeness[row][star] > 0.5).mean() > 0.95
    assert (likeness[row][~star] < 0.5).mean() > 0.95
    # The locus is that of a Gaussian: 1 - 2**-(0.5 / 0.5)**2 within 0.5 FWHM of what is in 1.5.
    expected = 0.5 / (1 - 2 ** -(3.0**2))
    for band in SEEING:
        assert abs(loci[band].concentration - expected) < 0.03
    reversed_rows = found.take(np.arange(len(found))[::-1])
    np.testing.assert_array_equal(point_likeness(reversed_rows, ("g", "i"))[0][::-1], likeness)
    few, none = point_likeness(found.take(np.arange(10)), ("g", "i"))
    assert np.isnan(few).all()
    assert none == {}


def test_flaws_are_flags(found):
    flags = found["detection_flags"]
    near_hole = (abs(found["x"] - 530) < 34) & (abs(found["y"] - 320) < 24)
    assert ((flags[near_hole] & DetectionFlag.EDGE) != 0).all()
    masked = (found["x"] > 701) & (found["y"] > 401) & (found["y"] < 598)
    assert masked.any()
    assert ((flags[masked] & DetectionFlag.BRIGHT_STAR) != 0).all()
    clear = (found["x"] < 698) | (found["y"] < 398) | (found["y"] > 602)
    assert ((flags[clear] & DetectionFlag.BRIGHT_STAR) == 0).all()
    assert (found["n_bands"][~near_hole] == 2).all()


def test_saturation_is_a_flag_and_leaves_no_ring():
    sky = Sky(n_stars=1, n_galaxies=0)
    sky.x[:], sky.y[:], sky.flux = [100.0], [100.0], {"g": np.array([1e6]), "i": np.array([1e6])}
    found = detect(sky.mosaic(), FINE)
    near = np.hypot(found["x"] - 100, found["y"] - 100) < 20
    assert near.sum() == 1
    assert (found["detection_flags"][near] & DetectionFlag.SATURATED) != 0


def test_no_source_without_light():
    rng = np.random.default_rng(2)
    for sigma in (0, 1.2):  # independent pixels, and those of a resampled image
        flux = rng.standard_normal((2, 1024, 1024))
        flux = np.stack([gaussian_filter(f, sigma) if sigma else f for f in flux])
        bands = [BandInfo("g", "nJy", None, 0.7), BandInfo("i", "nJy", None, 0.7)]
        mosaic = ArrayMosaic("blank", bands, (3 * flux).astype(np.float32), grid())
        # Chance: of a million smoothed pixels some tens stand out by 3.5 sigma, and none by 5.5.
        assert 1 <= len(detect(mosaic, DetectSettings())) <= 30
        assert len(detect(mosaic, DetectSettings(threshold_sigma=5.5))) == 0


def test_correlated_noise_makes_the_errors_larger():
    rng = np.random.default_rng(4)
    white = rng.standard_normal((1, 600, 600))
    bands = [BandInfo("i", "nJy", None, 0.7)]
    errors = []
    for flux in (white, gaussian_filter(white, (0, 1.5, 1.5))):
        flux = flux / flux.std()
        rows, cols = np.indices(flux.shape[1:]) - 300
        flux = flux + 300 * np.exp(-(rows**2 + cols**2) / 8)
        found = detect(ArrayMosaic("blank", bands, flux.astype(np.float32), grid()), FINE)
        row = np.argmin(np.hypot(found["x"] - 300, found["y"] - 300))
        errors.append(found["fluxerr_aper_i"][row])
    aperture_px = np.pi * 5**2
    assert abs(errors[0] / np.sqrt(aperture_px) - 1) < 0.15
    # For a scale far above that of the smoothing, the sum varies as the smoothed power at 0 does.
    assert 3 < errors[1] / errors[0] < 5.5


class WithVariance(ArrayMosaic):
    def read_variance(self, box, band, level=0):
        assert (band, level) == ("i", 0)
        return np.full(box.shape, 9 * NOISE["i"] ** 2, dtype=np.float32)


def test_errors_are_of_the_variance_where_it_is_known(mosaic, found):
    bands = [mosaic.bands[0], BandInfo("i", "nJy", None, SEEING["i"], has_variance=True)]
    known = detect(WithVariance("sky", bands, mosaic._flux, grid(), mosaic._mask), FINE)
    np.testing.assert_array_equal(known["flux_i"], found["flux_i"])
    np.testing.assert_array_equal(known["fluxerr_g"], found["fluxerr_g"])
    small = found["total_radius_arcsec"] < 4
    np.testing.assert_allclose((known["fluxerr_i"] / found["fluxerr_i"])[small], 3, rtol=0.15)


def test_display_units_have_no_magnitudes(sky):
    mosaic = sky.mosaic(unit="display")
    with pytest.raises(SourcesError, match=r"display units.*photometry = false"):
        detect(mosaic, FINE)
    shapes = detect(mosaic, FINE.model_copy(update={"photometry": False}))
    assert not any(name.startswith(("flux", "mag")) for name in shapes.columns)
    same_places = detect(sky.mosaic(), FINE)
    np.testing.assert_array_equal(shapes["ra"], same_places["ra"])


def test_what_cannot_be_searched_is_said(mosaic):
    with pytest.raises(MosaicError, match="no band 'z'; it has g, i"):
        detect(mosaic, DetectSettings(bands=("z",)))
    empty = ArrayMosaic("void", mosaic.bands, np.full((2, *SHAPE), np.nan, np.float32), grid())
    with pytest.raises(SourcesError, match=r"no cell of .* enough sky in band g"):
        detect(empty, FINE)


def test_one_band_can_be_searched_and_all_measured(mosaic):
    found = detect(mosaic, FINE.model_copy(update={"bands": ("i",)}))
    assert {"flux_g", "flux_i"} <= set(found.columns)
    found = detect(mosaic, FINE, bands=("i",))
    assert "flux_g" not in found.columns


def test_the_sky_does_not_depend_on_the_window():
    rng = np.random.default_rng(1)
    rows = [CellRow(*rng.normal(5, 1, (3, 1, 7)).astype(np.float32)) for _ in range(5)]
    rows[2].level[0, 3] = np.nan
    mesh = SkyMesh.of_rows(["i"], rows, (160, 224), 32)
    whole = mesh.sky(Box(-20, 180, -20, 240), "i")
    part = mesh.sky(Box(37, 91, 5, 123), "i")
    for large, small in zip(whole, part, strict=True):
        np.testing.assert_array_equal(large[57:111, 25:143], small)
        assert np.isfinite(large).all()


def test_names_are_unique_and_say_where():
    ra = np.array([49.954667, 0.0, 359.9999999, 49.954667, 49.954667])
    dec = np.array([41.511696, -0.0000001, -89.9, 41.511696, 41.5116962])
    names = source_names(ra, dec)
    assert names[1:3].tolist() == ["J000000.000-000000.00", "J235959.999-895400.00"]
    assert len(set(names)) == 5
    assert sorted(name[-1] for name in names[[0, 3, 4]]) == ["a", "b", "c"]
    # Cut off, by astropy, and so within a unit of the last digit.
    place = SkyCoord("03h19m49.120s", "+41d30m42.10s")
    assert names[0].startswith("J031949.120+413042.10")
    assert place.separation(SkyCoord(ra[0], dec[0], unit="deg")).arcsec < 0.02


def test_magnitudes_are_ab():
    mag, error = magnitudes(np.array([3631e9, 1.0, -1.0, np.nan]), np.array([3631e7, 0.1, 1, 1]))
    np.testing.assert_allclose(mag, [0.0, 31.4, np.nan, np.nan], atol=1e-4)
    np.testing.assert_allclose(error, [0.010857, 0.10857, np.nan, np.nan], rtol=1e-4)


def test_flags_are_frozen():
    assert {flag.name: flag.value for flag in DetectionFlag} == {
        "EDGE": 1, "SATURATED": 2, "BLENDED": 4, "BRIGHT_STAR": 8, "RAISED": 16, "CUT": 32,
    }  # fmt: skip
    assert set(FLAG_SENTENCES) == set(DetectionFlag)
