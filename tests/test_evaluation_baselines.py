"""The simple forecasts beside the scores, and the profiles that one of them is fitted to."""

from dataclasses import replace

import numpy as np
import pytest

from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.stamps import MASK_BITS, Stamps
from survey_classifier.training.evaluation.baselines import baselines
from survey_classifier.training.evaluation.judged import Judged
from survey_classifier.training.evaluation.profiles import ring_means
from survey_classifier.training.evaluation.truth import Truth
from survey_classifier.training.split import SECOND_SAMPLE

N = 240


def sample(seed=0):
    """Objects whose color, magnitude and profile tell members well, but not surely."""
    rng = np.random.default_rng(seed)
    is_member = rng.random(N) < 0.3
    delta = rng.normal(0, np.where(is_member, 0.08, 0.5))
    mag = rng.normal(np.where(is_member, 18, 20), 1)
    truth = Truth(
        np.array([f"o{n}" for n in range(N)], dtype=object),
        np.zeros(N, dtype=int),
        rng.uniform(49, 50, N),
        rng.uniform(41, 42, N),
        np.where(is_member, "cluster", "background").astype(object),
        np.ones(N, dtype=bool),
        mag,
        delta,
        np.zeros(N),
        np.full(N, "", dtype=object),
        {"g-r": delta / 2 + rng.normal(0, 0.02, N)},
    )
    profiles = is_member[:, None] + rng.normal(0, 1, (N, 6))
    profiles[::7, 2] = np.nan
    rest = (np.zeros(N, dtype=bool), {}, np.full(N, "judged", dtype=object), truth.object_id, {})
    nobody = truth.take(np.zeros(N, dtype=bool))
    return Judged(truth, {}, 0, {}, np.arange(N) % 4, nobody, "folds", {}, {}, *rest), profiles


def test_all_four_are_there_and_are_probabilities():
    judged, profiles = sample()
    found = baselines(judged, profiles)
    assert list(found) == ["majority", "red sequence", "photometry", "radial profile"]
    member = judged.truth.is_member
    for name, p in found.items():
        assert ((p >= 0) & (p <= 1)).all()
        if name != "majority":
            assert p[member].mean() > p[~member].mean() + 0.2, name


@pytest.mark.parametrize("fold", [0, 2])
def test_no_forecast_knows_the_labels_of_its_own_fold(fold):
    judged, profiles = sample()
    held = judged.fold == fold
    flipped = np.where(judged.truth.is_member, "background", "cluster").astype(object)
    classes = np.where(held, flipped, judged.truth.true_class)
    other = replace(judged, truth=replace(judged.truth, true_class=classes))
    before, after = baselines(judged, profiles), baselines(other, profiles)
    for name in before:
        np.testing.assert_array_equal(before[name][held], after[name][held])
        assert (before[name][~held] != after[name][~held]).any(), name


def test_the_majority_is_the_share_of_the_other_folds():
    judged, _ = sample()
    p = baselines(judged, None)["majority"]
    for fold in range(4):
        share = judged.truth.is_member[judged.fold != fold].mean()
        assert (p[judged.fold == fold] == share).all()


def test_lines_for_bright_objects_are_fitted_to_bright_ones_and_the_forest_to_all():
    judged, _ = sample()
    bright = judged.truth.mag < 19
    both = replace(judged, truth=replace(judged.truth, is_bright=bright))
    found, plain = baselines(both, None), baselines(judged, None)
    alone = baselines(replace(judged, truth=judged.truth.take(bright), fold=judged.fold[bright]),
                      None)  # fmt: skip
    for name in plain:
        of_bright = plain[name][bright] if name == "photometry" else alone[name]
        np.testing.assert_array_equal(found[name][bright], of_bright)
        np.testing.assert_array_equal(found[name][~bright], plain[name][~bright])


def test_of_one_part_of_a_split_the_forecasts_are_fitted_to_the_others():
    """As they are where the parts are two folds, and only one of them is looked at."""
    judged, profiles = sample()
    bright = judged.truth.mag < 19
    truth = replace(judged.truth, is_bright=bright)
    is_part = judged.fold == 1
    whole = replace(judged, truth=truth, fold=is_part.astype(int))
    part = replace(
        judged,
        truth=truth.take(is_part),
        fold=np.ones(int(is_part.sum()), dtype=int),
        beside=truth.take(~is_part),
        split="part",
    )
    order = np.argsort(~is_part, kind="stable")
    expected, found = baselines(whole, profiles), baselines(part, profiles[order])
    assert len(part.known) == N
    for name, p in found.items():
        # The order of rows is another, and so are the forest's draws of them.
        bound = 0.15 if name == "photometry" else 1e-4
        np.testing.assert_allclose(p, expected[name][is_part], atol=bound)


def test_nothing_is_fitted_to_the_second_sample():
    judged, profiles = sample()
    judged = replace(judged, fold=np.where(judged.fold == 3, SECOND_SAMPLE, judged.fold))
    flipped = np.where(judged.truth.is_member, "background", "cluster").astype(object)
    classes = np.where(judged.is_second, flipped, judged.truth.true_class)
    other = replace(judged, truth=replace(judged.truth, true_class=classes))
    before, after = baselines(judged, profiles), baselines(other, profiles)
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])
    share = judged.truth.is_member[~judged.is_second].mean()
    assert (before["majority"][judged.is_second] == share).all()


def test_what_there_are_no_data_for_is_left_out():
    judged, _ = sample()
    unknown = np.full(N, np.nan)
    truth = replace(judged.truth, delta_rs=unknown, photometry={"g-r": unknown})
    assert list(baselines(replace(judged, truth=truth), None)) == ["majority", "photometry"]
    truth = replace(truth, mag=unknown)
    assert list(baselines(replace(judged, truth=truth), None)) == ["majority"]


def test_objects_of_unknown_color_are_forecast_too():
    judged, _ = sample()
    delta = judged.truth.delta_rs.copy()
    delta[::3] = np.nan
    found = baselines(replace(judged, truth=replace(judged.truth, delta_rs=delta)), None)
    assert all(np.isfinite(p).all() for p in found.values())


def test_one_class_in_the_other_folds_gives_its_share():
    judged, profiles = sample()
    fold = np.where(judged.truth.is_member, 0, 1)
    found = baselines(replace(judged, fold=fold), profiles)
    for p in found.values():
        np.testing.assert_array_equal(p, judged.truth.is_member == 0)


def stamps(flux, offset, scale_arcsec):
    n = len(flux)
    return Stamps(
        ("g", "r"),
        flux.astype(np.float32),
        np.asarray(offset, dtype=np.float32),
        np.ones(n, dtype=np.float32),
        np.full(n, MaskBit(0), dtype=np.uint8),
        np.zeros(n, dtype=bool),
        np.zeros((n, len(MASK_BITS)), dtype=np.float32),
        scale_arcsec,
    )


def test_ring_means_are_those_of_a_loop_over_pixels():
    rng = np.random.default_rng(4)
    flux = rng.normal(0, 1, (3, 2, 15, 15))
    flux[1, :, :5] = np.nan
    offset = rng.uniform(-0.5, 0.5, (3, 2))
    edges = np.array([0.0, 1.0, 1.7, 3.0, 9.0, 11.0])
    found = ring_means(stamps(flux, offset, 0.6), edges)
    expected = np.full((3, 2, 5), np.nan)
    for number in range(3):
        for ring in range(5):
            values = [
                flux[number, :, y, x]
                for y in range(15)
                for x in range(15)
                if edges[ring]
                <= 0.6 * np.hypot(x - 7 - np.float32(offset[number, 0]),
                                  y - 7 - np.float32(offset[number, 1]))
                < edges[ring + 1] and np.isfinite(flux[number, 0, y, x])
            ]  # fmt: skip
            if values:
                expected[number, :, ring] = np.mean(values, axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert np.isnan(found[:, :, -1]).all()  # beyond the corners


def test_a_profile_is_the_same_at_any_scale_and_place_within_a_pixel():
    edges = np.array([0.0, 2.0, 4.0, 6.0])
    found = []
    for scale, size, offset in ((0.1, 151, (0, 0)), (0.25, 61, (0.4, -0.3))):
        along = (np.arange(size) - size // 2) * scale
        radius = np.hypot(along[:, None] - offset[1] * scale, along - offset[0] * scale)
        profile = np.exp(-radius / 2)
        flux = np.stack([profile, 3 * profile])[None]
        found.append(ring_means(stamps(flux, [offset], scale), edges))
    np.testing.assert_allclose(*found, rtol=0.02)
