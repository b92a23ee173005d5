"""Made-up sources with every kind of evidence, and a model that weighs it."""

import numpy as np

from survey_classifier.membership.color_evidence import ColorEvidence, fit_color_evidence
from survey_classifier.membership.evidence_model import EvidenceModel, ImageEvidence, Weights
from survey_classifier.membership.stars import StarEvidence, StellarLocus


def color_evidence() -> ColorEvidence:
    """Fit densities to made-up colors."""
    rng = np.random.default_rng(0)
    n = 2000
    r0, member = rng.uniform(14, 22, n), rng.random(n) < 0.4
    delta = np.where(member, rng.normal(0, 0.1, n), rng.normal(0.1, 0.4, n))
    return fit_color_evidence(delta, np.full(n, 0.03), r0, member, np.array([14.0, 17, 20, 22]))


_COLOR: list[ColorEvidence] = []


def model() -> EvidenceModel:
    """Return a model with all pieces, and weights that differ from subset to subset."""
    if not _COLOR:
        _COLOR.append(color_evidence())
    return EvidenceModel(
        source="made up",
        image=ImageEvidence(
            checkpoint_digest="a" * 64,
            magnitudes=(15.0, 18.0, 21.0),
            pi_train=(0.7, 0.3, 0.1),
            overall=0.25,
        ),
        color=_COLOR[0],
        stars=StarEvidence(
            locus=StellarLocus(
                g_r=(-0.2, 0.4, 0.8, 1.2),
                r_z=(-0.3, 0.2, 0.45, 0.65),
                star_scatter=0.1,
                galaxy_offset=0.24,
                galaxy_scatter=0.07,
            )
        ),
        weights={
            "image": Weights(image=0.95),
            "color": Weights(color=0.9, offset=0.05),
            "image+color": Weights(image=0.8, color=0.7, offset=-0.1),
        },
    )


def observed_columns(n: int, seed: int) -> dict[str, np.ndarray]:
    """Return columns as of a catalog, each with holes."""
    rng = np.random.default_rng(seed)
    r = rng.uniform(13, 24, n)
    columns = {
        "p_image": rng.beta(0.3, 0.5, n),
        "ra": rng.uniform(49, 51, n),
        "dec": rng.uniform(40.5, 42.5, n),
        "mag_g": r + rng.normal(0.7, 0.3, n),
        "mag_r": r,
        "mag_z": r - rng.normal(0.5, 0.3, n),
        "delta_rs": rng.normal(0, 0.4, n),
        "delta_rs_err": rng.uniform(0.01, 0.2, n),
        "z": rng.choice([0.0001, 0.0176, 0.02, 0.1, 0.3], n),
        "z_err": rng.uniform(1e-5, 1e-4, n),
        "point_likeness": rng.random(n),
        "gaia": rng.integers(0, 2, n).astype(np.float64),
    }
    for values in columns.values():
        values[rng.random(n) < 0.2] = np.nan
    return columns | {"z_warning": rng.choice([-1, 0, 4], n).astype(np.int32)}
