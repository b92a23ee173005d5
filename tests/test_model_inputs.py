"""The resampling against analytic images and brute force."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from survey_classifier.errors import CheckpointError
from survey_classifier.model.card import ModelCard
from survey_classifier.model.inputs import (
    cut_size_px,
    pyramid_level,
    require_mosaic,
    to_network_input,
)
from survey_classifier.mosaic.array_mosaic import ArrayMosaic
from survey_classifier.mosaic.exposure import MosaicInput
from survey_classifier.mosaic.ingest import ingest_mosaics
from survey_classifier.mosaic.mosaic_settings import MosaicSettings
from survey_classifier.mosaic.pixels import BandInfo
from survey_classifier.stamps import cut_stamps


def make_card(**changes: Any) -> ModelCard:
    bands = changes.get("bands", ["r", "g"])
    fields = {
        "name": "tiny",
        "description": "nothing",
        "architecture": "resnet15",
        "width": 4,
        "classes": ["nonmember", "member"],
        "bands": bands,
        "unit": "display",
        "stamp_arcsec": 20.0,
        "stamp_px": 50,
        "stretch": {band: {"softening": 3.0 + n, "maximum": 50.0} for n, band in enumerate(bands)},
        "n_views": 1,
        "temperature": 1.0,
        "prevalence": {"nonmember": 0.5, "member": 0.5},
        "label_mapping": {},
        "data": [],
        "metrics": {},
        "code_version": "0",
    }
    return ModelCard.model_validate_json(json.dumps(fields | changes))


def unstretched(x: torch.Tensor, card: ModelCard) -> torch.Tensor:
    """Return the bands of a network's input in the unit that entered the stretch."""
    bands = []
    for number, band in enumerate(card.bands):
        s = card.stretch[band]
        bands.append(torch.sinh(x[:, number] * math.asinh(s.maximum / s.softening)) * s.softening)
    return torch.stack(bands, dim=1)


def gaussians(
    offset_px: torch.Tensor, size: int, scale_arcsec: float, sigma_arcsec: float, n_band: int
) -> torch.Tensor:
    """Return one round Gaussian a stamp, peak 30, drawn at pixel size // 2 + offset."""
    axis = torch.arange(size, dtype=torch.float64)
    dx = (axis - size // 2 - offset_px[:, :1].double())[:, None, :]
    dy = (axis - size // 2 - offset_px[:, 1:].double())[:, :, None]
    image = 30 * torch.exp(-(dx**2 + dy**2) * scale_arcsec**2 / 2 / sigma_arcsec**2)
    return image.float()[:, None].repeat(1, n_band, 1, 1)


def test_the_same_grid_is_only_stretched() -> None:
    card = make_card(stamp_px=51, stamp_arcsec=20.4)
    flux = torch.rand(3, 2, 53, 53) * 100
    x = to_network_input(flux, torch.zeros(3, 2), 0.4, card)
    inner = flux[:, :, 1:-1, 1:-1]
    for number, softening in enumerate((3.0, 4.0)):
        want = torch.asinh(inner[:, number] / softening) / math.asinh(50.0 / softening)
        torch.testing.assert_close(x[:, number], want, rtol=1e-3, atol=1e-3)
    assert x.shape == (3, 3, 51, 51)
    assert (x[:, 2] == 1).all()


@pytest.mark.parametrize("scale_arcsec", [0.4, 0.396, 0.3, 0.168, 0.1])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("rotation_deg", [0.0, 37.0, 90.0, 211.0])
def test_a_ramp_is_sampled_where_the_sky_says(
    scale_arcsec: float, flip: bool, rotation_deg: float
) -> None:
    """Bilinear sampling and averages are exact on a linear image, so the geometry is too."""
    card = make_card()
    size = cut_size_px(card, scale_arcsec, rotated=True)
    offset = torch.tensor([[0.3, -0.45], [-0.5, 0.0]])
    j, i = np.meshgrid(np.arange(size), np.arange(size))
    ramp = 10 + 0.05 * scale_arcsec * j + 0.11 * scale_arcsec * i
    flux = torch.from_numpy(ramp).float().repeat(2, 2, 1, 1)
    x = to_network_input(flux, offset, scale_arcsec, card, rotation_deg, flip)
    got = unstretched(x, card)[:, 0].numpy()
    turn = math.radians(rotation_deg)
    for n in range(2):
        for row, col in [(0, 0), (0, 49), (31, 7), (49, 49)]:
            u, v = (col - 24.5) * 0.4 * (-1 if flip else 1), (row - 24.5) * 0.4
            at_x = (
                size // 2
                + float(offset[n, 0])
                + (math.cos(turn) * u - math.sin(turn) * v) / scale_arcsec
            )
            at_y = (
                size // 2
                + float(offset[n, 1])
                + (math.sin(turn) * u + math.cos(turn) * v) / scale_arcsec
            )
            want = 10 + 0.05 * scale_arcsec * at_x + 0.11 * scale_arcsec * at_y
            assert got[n, row, col] == pytest.approx(want, rel=2e-5)


@pytest.mark.parametrize("stamp_px", [50, 51])
@pytest.mark.parametrize("scale_arcsec", [0.4, 0.168])
def test_the_source_is_at_the_center(stamp_px: int, scale_arcsec: float) -> None:
    card = make_card(stamp_px=stamp_px)
    offset = torch.rand(8, 2) - 0.5
    size = cut_size_px(card, scale_arcsec)
    x = unstretched(
        to_network_input(gaussians(offset, size, scale_arcsec, 1.5, 2), offset, scale_arcsec, card),
        card,
    )[:, 0].double()
    axis = torch.arange(stamp_px, dtype=torch.float64)
    total = x.sum(dim=(1, 2))
    for centroid in ((x.sum(1) * axis).sum(1) / total, (x.sum(2) * axis).sum(1) / total):
        np.testing.assert_allclose(centroid.numpy(), (stamp_px - 1) / 2, atol=0.02)


def test_whole_blocks_are_averaged() -> None:
    """At a third of the output's scale the sub-points are the pixels' centers: a plain mean."""
    card = make_card(stamp_px=17, stamp_arcsec=17 * 0.3)
    flux = torch.rand(2, 2, 53, 53) * 80
    x = to_network_input(flux, torch.zeros(2, 2), 0.1, card)
    first = 26 - 25  # the middle output pixel is centered on pixel 26
    blocks = flux[:, :, first : first + 51, first : first + 51].reshape(2, 2, 17, 3, 17, 3)
    torch.testing.assert_close(unstretched(x, card), blocks.mean((3, 5)), rtol=1e-4, atol=1e-3)


def test_surface_brightness_does_not_depend_on_the_mosaics_scale() -> None:
    card = make_card(unit="nJy")
    inputs = []
    for scale_arcsec in (0.1, 0.168, 0.25, 0.336):
        flux = gaussians(torch.zeros(1, 2), cut_size_px(card, scale_arcsec), scale_arcsec, 2.0, 2)
        inputs.append(
            to_network_input(flux * scale_arcsec**2, torch.zeros(1, 2), scale_arcsec, card)
        )
    for x in inputs[1:]:
        torch.testing.assert_close(x, inputs[0], rtol=0, atol=0.02)
    assert inputs[0][0, 0, 25, 25] == pytest.approx(math.asinh(10) / math.asinh(50 / 3), rel=0.02)


def test_a_display_image_is_taken_as_it_is() -> None:
    card = make_card()
    x = to_network_input(torch.full((1, 2, 201, 201), 50.0), torch.zeros(1, 2), 0.1, card)
    torch.testing.assert_close(x, torch.ones(1, 3, 50, 50))


def test_views_are_exact_permutations() -> None:
    card = make_card()
    flux, offset = torch.rand(2, 2, 75, 75) * 50, torch.rand(2, 2) - 0.5
    upright = to_network_input(flux, offset, 0.4, card)
    quarter = to_network_input(flux, offset, 0.4, card, 90.0)
    torch.testing.assert_close(quarter, torch.rot90(upright, 1, (2, 3)), rtol=0, atol=2e-4)
    mirrored = to_network_input(flux, offset, 0.4, card, flip=True)
    torch.testing.assert_close(mirrored, upright.flip(3), rtol=0, atol=2e-4)


def test_each_stamp_has_its_own_rotation_and_flip() -> None:
    card = make_card()
    flux, offset = torch.rand(3, 2, 75, 75) * 50, torch.rand(3, 2) - 0.5
    angle, flip = torch.tensor([0.0, 33.0, 200.0]), torch.tensor([False, True, True])
    together = to_network_input(flux, offset, 0.4, card, angle, flip)
    for n in range(3):
        alone = to_network_input(
            flux[n : n + 1], offset[n : n + 1], 0.4, card, float(angle[n]), bool(flip[n])
        )
        torch.testing.assert_close(together[n : n + 1], alone)


@pytest.mark.parametrize("scale_arcsec", [0.4, 0.1])
def test_invalid_pixels_have_no_weight(scale_arcsec: float) -> None:
    """A flat image with holes stays flat where it is valid, zero elsewhere."""
    card = make_card()
    size = cut_size_px(card, scale_arcsec)
    flux = torch.full((4, 2, size, size), 20.0)
    flux[torch.rand(4, 2, size, size) < 0.2] = torch.nan
    flux[0, :, : size // 3] = torch.nan
    flux[1, 1] = torch.nan
    flux[2] = torch.nan
    flux[3, 0, 5, 5] = torch.inf
    x = to_network_input(flux, torch.rand(4, 2) - 0.5, scale_arcsec, card)
    assert x.isfinite().all()
    level = [math.asinh(20 / s) / math.asinh(50 / s) for s in (3.0, 4.0)]
    for number in range(2):
        values = x[:, number]
        assert ((values == 0) | ((values - level[number]).abs() < 1e-4)).all()
    valid = (x[:, :2] != 0).all(dim=1)
    assert torch.equal(x[:, 2], valid.float())
    assert not x[2].any()  # nothing is known: nothing is shown
    assert (x[1, 0] != 0).any()
    assert not x[1, 1:].any()


@settings(max_examples=60, deadline=None)
@given(
    scale_arcsec=st.floats(0.09, 0.4),
    dx=st.floats(-0.5, 0.5),
    dy=st.floats(-0.5, 0.5),
    angle=st.floats(0, 360),
    rotated=st.booleans(),
)
def test_the_cut_covers_the_input_and_little_more(
    scale_arcsec: float, dx: float, dy: float, angle: float, rotated: bool
) -> None:
    card = make_card()
    size = cut_size_px(card, scale_arcsec, rotated=rotated)
    assert size % 2 == 1
    assert size <= 20.0 / scale_arcsec * (2**0.5 if rotated else 1) + 4
    flux = torch.full((1, 2, size, size), 50.0)
    offset = torch.tensor([[dx, dy]])
    x = to_network_input(flux, offset, scale_arcsec, card, angle if rotated else 0.0)
    torch.testing.assert_close(x, torch.ones_like(x), rtol=0, atol=1e-4)
    # What lies outside is not made up: with the rim unknown the sub-pixel shift must not matter.
    flux[:, :, 0] = flux[:, :, -1] = flux[:, :, :, 0] = flux[:, :, :, -1] = torch.nan
    assert to_network_input(flux, offset, scale_arcsec, card)[0, 2, 5:-5, 5:-5].all()


def test_cut_size_of_the_reference_stamp() -> None:
    assert cut_size_px(make_card(), 0.4) == 53
    assert cut_size_px(make_card(), 0.3999) == 53
    assert cut_size_px(make_card(), 0.4, rotated=True) == 73


@pytest.mark.parametrize("n_levels", [1, 2, 6])
@pytest.mark.parametrize("scale_arcsec", [0.05, 0.1, 0.168, 0.2, 0.2001, 0.3, 0.4, 0.4003])
def test_level_is_the_coarsest_that_is_fine_enough(scale_arcsec: float, n_levels: int) -> None:
    level = pyramid_level(make_card(), scale_arcsec, n_levels)
    fine = [k for k in range(n_levels) if scale_arcsec * 2**k <= 0.4 * 1.001]
    assert level == fine[-1]


def test_a_coarser_mosaic_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"0\.41 arcsec/px.*tiny needs 0\.4"):
        pyramid_level(make_card(), 0.41, 3)


def mosaic(bands: tuple[str, ...], unit: Any = "display", scale_arcsec: float = 0.4) -> ArrayMosaic:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cdelt = [-scale_arcsec / 3600, scale_arcsec / 3600]
    wcs.wcs.crval = [49.9, 41.5]
    wcs.wcs.set()
    flux = np.zeros((len(bands), 4, 4), dtype=np.float32)
    return ArrayMosaic("west", [BandInfo(band, unit) for band in bands], flux, wcs)


def test_bands_may_come_in_any_order_but_must_be_the_cards() -> None:
    card = make_card()
    require_mosaic(card, mosaic(("r", "g")))
    require_mosaic(card, mosaic(("g", "r")))
    for bands in (("g",), ("g", "r", "i"), ("g", "i")):
        with pytest.raises(CheckpointError, match=r"west has the bands .*tiny needs exactly g, r"):
            require_mosaic(card, mosaic(bands))
    with pytest.raises(CheckpointError, match="in nJy, the checkpoint tiny needs display"):
        require_mosaic(card, mosaic(("r", "g"), "nJy"))
    with pytest.raises(CheckpointError, match=r"0\.5 arcsec/px"):
        require_mosaic(card, mosaic(("r", "g"), scale_arcsec=0.5))


def test_what_to_do_about_other_bands_is_said() -> None:
    card = make_card()
    with pytest.raises(CheckpointError, match=r"; name these as mosaic\.bands, or choose another"):
        require_mosaic(card, mosaic(("g", "r", "i")))
    with pytest.raises(CheckpointError, match=r"; perseus-synthetic, which is shipped, fits: cho"):
        require_mosaic(make_card(bands=["r", "y"]), mosaic(("g", "z", "i", "r"), "nJy", 0.3))
    with pytest.raises(CheckpointError, match=r"; perseus, which is shipped, fits: choose it"):
        require_mosaic(make_card(bands=["r", "z"]), mosaic(("g", "r", "i")))
    coarse = mosaic(("g", "z", "i"), "nJy", 0.6)
    for other in (mosaic(("VIS", "Y"), "nJy"), mosaic(("g", "i"), "nJy"), coarse):
        with pytest.raises(CheckpointError, match=r"; none that is shipped fits: train one, or"):
            require_mosaic(card, other)


def test_a_coarser_pyramid_level_gives_the_same_input(tmp_path: Path) -> None:
    """Flux is per pixel of the stamp, whatever level it was cut from."""
    source = mosaic(("r", "g"), "nJy", scale_arcsec=0.1)
    image = gaussians(torch.tensor([[0.3, -0.2]]), 601, 0.1, 2.0, 1)[0, 0].numpy() * 0.1**2
    inputs = []
    for band in ("r", "g"):
        header = source.wcs.to_header()
        header["MAGZERO"] = 31.4  # counts are nJy
        fits.PrimaryHDU(image, header).writeto(tmp_path / f"{band}.fits")
        inputs.append(MosaicInput(path=f"{band}.fits", band=band))
    (store,) = ingest_mosaics(MosaicSettings(store="x.zarr", inputs=tuple(inputs)), tmp_path)
    card = make_card(unit="nJy")
    seen = []
    for level in (0, 2):
        size_px = cut_size_px(card, 0.1 * 2**level)
        stamps = cut_stamps(store, [300.3], [299.8], size_px, card.bands, level)
        flux, offset = torch.from_numpy(stamps.flux), torch.from_numpy(stamps.offset_px)
        seen.append(to_network_input(flux, offset, stamps.scale_arcsec, card))
    torch.testing.assert_close(seen[1], seen[0], rtol=0, atol=0.03)
