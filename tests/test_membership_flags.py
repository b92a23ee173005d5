"""The registry of flags and statuses: frozen names and bits, and packing."""

import pickle

import numpy as np
import pytest

from survey_classifier.membership.flags import Flag, ImageStatus, Status, pack_flags, pixel_flags
from survey_classifier.mosaic.pixels import MaskBit

# Published catalogs hold these bits: a new flag takes the next one, none ever moves.
FROZEN_FLAGS = {
    "EDGE_STAMP": 1,
    "PARTIAL_DATA": 2,
    "SATURATED": 4,
    "COSMIC_RAY": 8,
    "BRIGHT_STAR": 16,
    "SUSPECT_PIXELS": 32,
    "INTERPOLATED": 64,
    "REDSHIFT_AMBIGUOUS": 128,
    "Z_WARNING": 256,
    "AMBIGUOUS_LOWZ": 512,
    "EBV_UNKNOWN": 1024,
    "MAGNITUDE_UNKNOWN": 2048,
    "PRIOR_WITHOUT_MAGNITUDE": 4096,
}
FROZEN_STATUSES = {
    "classified",
    "no_position",
    "off_mosaic",
    "no_data",
    "saturated",
    "low_coverage",
    "score_failed",
    "tile_failed",
}


def test_bits_and_texts_are_frozen():
    assert {flag.name: flag.value for flag in Flag} == FROZEN_FLAGS
    assert {str(status) for status in Status} == FROZEN_STATUSES
    assert {str(status) for status in ImageStatus} == {"no_image", "bad_image"}


def test_each_bit_is_one_bit_of_an_int32():
    assert all(flag.bit_count() == 1 and 0 < flag < 2**31 for flag in Flag)
    assert len(set(Flag)) == len(FROZEN_FLAGS)


@pytest.mark.parametrize("entry", [*Flag, *Status])
def test_each_entry_says_what_it_means_in_a_sentence_and_survives_pickling(entry):
    assert entry.meaning[0].isupper()
    assert entry.meaning.endswith(".")
    assert "\n" not in entry.meaning
    assert pickle.loads(pickle.dumps(entry)) is entry  # noqa: S301


def test_a_value_decodes_to_its_names():
    assert [flag.name for flag in Flag(1 + 4 + 256)] == ["EDGE_STAMP", "SATURATED", "Z_WARNING"]
    assert Status("no_data") is Status.NO_DATA


def test_packing_sets_exactly_the_bits_that_hold():
    rng = np.random.default_rng(5)
    conditions = {flag: rng.random(50) < 0.5 for flag in Flag}
    flags = pack_flags(50, conditions)
    assert flags.dtype == np.int32
    for flag, raised in conditions.items():
        np.testing.assert_array_equal((flags & flag) != 0, raised)
    assert pack_flags(3, {}).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("bit", "expected"),
    [
        (MaskBit.NO_DATA, 0),  # told by the valid fraction
        (MaskBit.SATURATED, Flag.SATURATED),
        (MaskBit.BAD, 0),
        (MaskBit.COSMIC_RAY, Flag.COSMIC_RAY),
        (MaskBit.BRIGHT_STAR, Flag.BRIGHT_STAR),
        (MaskBit.EDGE, 0),
        (MaskBit.SUSPECT, Flag.SUSPECT_PIXELS),
        (MaskBit.INTERPOLATED, Flag.INTERPOLATED),
    ],
)
def test_mask_bits_raise_their_flags(bit, expected):
    mask_fraction = np.zeros((3, 8), dtype=np.float32)
    mask_fraction[1, list(MaskBit).index(bit)] = 0.01
    mask_fraction[2] = np.nan
    valid_fraction = np.array([1, 0.99, np.nan], dtype=np.float32)
    flags = pixel_flags(mask_fraction, valid_fraction)
    assert flags.tolist() == [0, expected | Flag.PARTIAL_DATA, 0]
