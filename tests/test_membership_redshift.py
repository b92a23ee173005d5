"""Redshift classes and the velocity cut: golden values, half-open edges, real counts."""

import numpy as np
import pandas as pd
import pytest

from survey_classifier.errors import ConfigError
from survey_classifier.membership.redshift import (
    SPEED_OF_LIGHT_KM_S,
    RedshiftCuts,
    dynamic_member,
    velocity_offset_km_s,
    z_class,
)

PERSEUS = RedshiftCuts()


def test_windows_are_half_open():
    z = [-0.001, np.nextafter(0.01, 0), 0.01, np.nextafter(0.033, 0), 0.033, 3.0, np.nan]
    expected = ["star", "star", "cluster", "cluster", "background", "background", ""]
    assert z_class(z, PERSEUS).tolist() == expected


def test_the_windows_in_velocity_are_the_published_ones():
    cz = SPEED_OF_LIGHT_KM_S * np.array([PERSEUS.star_max_z, PERSEUS.cluster_max_z])
    assert np.round(cz).tolist() == [2998, 9893]


def test_a_galaxy_just_below_the_window_is_a_star_by_class_and_a_member_by_velocity():
    assert z_class([0.0099], PERSEUS).tolist() == ["star"]
    assert dynamic_member([0.0099], PERSEUS).tolist() == [1]


def test_the_velocity_cut_is_symmetric_and_strict():
    z_edge = PERSEUS.z_cluster + 3 * 1040 / SPEED_OF_LIGHT_KM_S * (1 + PERSEUS.z_cluster)
    mirrored = 2 * PERSEUS.z_cluster - z_edge
    inside, outside = 1e-9, -1e-9
    z = [z_edge - inside, z_edge - outside, mirrored + inside, mirrored + outside, np.nan]
    member = dynamic_member(z, PERSEUS)
    assert member.tolist() == [1, 0, 1, 0, -1]
    assert member.dtype == np.int16
    np.testing.assert_allclose(velocity_offset_km_s([z_edge, mirrored], PERSEUS), [3120, -3120])
    assert velocity_offset_km_s([PERSEUS.z_cluster], PERSEUS).tolist() == [0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"star_max_z": 0.05},
        {"star_max_z": -0.01},
        {"z_cluster": 0.04},
        {"z_cluster": np.nan},
        {"cluster_max_z": 0.01},
        {"cluster_max_z": np.inf},
        {"sigma_km_s": 0.0},
        {"n_sigma": np.nan},
    ],
)
def test_impossible_cuts_cannot_be_built(wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))}.*give"):
        RedshiftCuts(**wrong)


def test_real_objects_fall_in_the_classes_of_their_table(real_data):
    spectra = pd.read_csv(real_data / "perseus" / "sdss_spectra_dev.csv")
    assert (z_class(spectra.z.to_numpy(), PERSEUS) == spectra.z_class).all()
    objects = spectra.drop_duplicates("objID")
    names, counts = np.unique(z_class(objects.z.to_numpy(), PERSEUS), return_counts=True)
    assert dict(zip(names, counts, strict=True)) == {"star": 84, "cluster": 83, "background": 65}
    assert (dynamic_member(objects.z.to_numpy(), PERSEUS) == 1).sum() == 79
