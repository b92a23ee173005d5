"""Calibration: from labeled objects that a network had not seen to an evidence file.

Owns the order of the work, and what the file says of itself. Does not own the objects
(``calibration_sample``), the fits (``evidence_fit``) nor the figures (``judging``).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tomli_w

from survey_classifier.errors import RunError
from survey_classifier.files import write_text
from survey_classifier.membership.evidence_model import MAX_WEIGHT, EvidenceModel
from survey_classifier.membership.priors import PriorTable
from survey_classifier.membership.red_sequence import RedSequence
from survey_classifier.model.checkpoint import file_digest
from survey_classifier.model.shipped import resolve_checkpoint
from survey_classifier.sources.digest import table_digest
from survey_classifier.sources.sky import separation_deg
from survey_classifier.training.calibration_recipe import (
    CalibrationRecipe,
    read_calibration_recipe,
)
from survey_classifier.training.calibration_sample import (
    CalibrationSample,
    load_calibration_sample,
)
from survey_classifier.training.evidence_fit import fit_evidence, held_out
from survey_classifier.training.judging import figures

__all__ = ["calibrate", "judge"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Say = Callable[[str], None]


def calibrate(recipe_path: Path, say: Say | None = None) -> Path:
    """Fit an evidence model to labeled objects, judge it on held-out ones and write it.

    Parameters
    ----------
    recipe_path
        A calibration recipe (TOML).
    say
        Called with a line on each part of the work.

    Returns
    -------
    Path
        The evidence file; one that is there is replaced.

    Raises
    ------
    ConfigError
        If the recipe, or the prior table or red sequence that it names, can't be used.
    SourcesError
        If a table can't be used or holds too few objects.
    CheckpointError
        If there is no such network.
    RunError
        If the file can't be written.
    """
    say = say or (lambda _: None)
    recipe = read_calibration_recipe(recipe_path)
    sample = load_calibration_sample(recipe)
    n_scored = int(np.isfinite(sample.p_image).sum())
    say(f"{len(sample)} labeled objects, {int(sample.is_member.sum())} of them members, "
        f"{n_scored} with a score")  # fmt: skip
    nodes = np.array(recipe.mag_nodes)
    fit = fit_evidence(sample, nodes, recipe.stars)
    worth = fit.model.weights["image+color"]
    say(f"image and color together: weights {worth.image:.2f} +- {fit.weight_err['image']:.2f} "
        f"and {worth.color:.2f} +- {fit.weight_err['color']:.2f}")  # fmt: skip
    if MAX_WEIGHT in (worth.image, worth.color):
        say(f"a weight is at its bound of {MAX_WEIGHT:g}: scores or color errors are far too "
            "unsure; see that the scores are calibrated")  # fmt: skip
    metrics = judge(sample, recipe)
    for line in _summary(metrics):
        say(line)
    metrics["weight_err"] = fit.weight_err
    sequence = RedSequence.read(recipe.named(recipe.red_sequence))
    image = fit.model.image.model_copy(update=_networks(recipe))
    found: dict[str, Any] = {"source": _source(recipe), "metrics": metrics, "image": image}
    if fit.model.color is not None:
        bands = (sequence.blue, sequence.red, sequence.mag)
        found["color"] = fit.model.color.model_copy(update={"bands": bands})
    model = fit.model.model_copy(update=found)
    _write(model, recipe.model_path)
    return recipe.model_path


def _networks(recipe: CalibrationRecipe) -> dict[str, Any]:
    """Return by their digests the networks whose training the shares of members are of."""
    folder = recipe.path(".")
    names = (recipe.scores.checkpoint, *recipe.scores.same_training)
    first, *others = (file_digest(resolve_checkpoint(name, folder)) for name in names)
    return {"checkpoint_digest": first, "same_training": tuple(others)}


def judge(sample: CalibrationSample, recipe: CalibrationRecipe) -> dict[str, Any]:
    """Return the figures of held-out objects: by set of objects, then by what is used.

    Sets are ``all`` that have a score, and those of each table; of a table that holds stars also
    its galaxies. Used are ``p_image``, the score as it is, and the forecasts of `held_out`.

    Parameters
    ----------
    sample
        Labeled objects.
    recipe
        Says the magnitudes of the model, and which prior table it is judged under.
    """
    nodes = np.array(recipe.mag_nodes)
    table = PriorTable.read(recipe.named(recipe.prior)) if recipe.prior else None
    radius = None
    if recipe.center_deg is not None:
        radius = separation_deg(sample.ra_deg, sample.dec_deg, *recipe.center_deg)
    forecasts = {"p_image": sample.p_image, **held_out(sample, nodes, table, radius)}
    found: dict[str, Any] = {}
    for name, rows in _sets(sample).items():
        found[name] = {
            used: figures(p[rows], sample.is_member[rows]) for used, p in forecasts.items()
        }
    return found


def _sets(sample: CalibrationSample) -> dict[str, Bools]:
    """Return which objects the figures are of."""
    scored = np.isfinite(sample.p_image)
    sets = {"all": scored}
    for name in dict.fromkeys(sample.table.tolist()):
        inside = scored & (sample.table == name)
        if not inside.any():
            continue
        sets[name] = inside
        if sample.is_star[inside].any():
            sets[f"{name} galaxies"] = inside & ~sample.is_star
    return sets


def _source(recipe: CalibrationRecipe) -> str:
    """Say where the numbers come from, with the digests of what was read."""
    tables = [recipe.scores.table, *(data.table for data in recipe.data)]
    digests = (f"{path.name} sha256 {table_digest(path)}" for path in map(recipe.path, tables))
    return f"{recipe.description} Fitted to {'; '.join(digests)}."


def _summary(metrics: dict[str, Any]) -> list[str]:
    """Return a line for each set and forecast."""
    lines = []
    for name, forecasts in metrics.items():
        for used, found in forecasts.items():
            auc, accuracy = found["auc"], found["accuracy"]
            lines.append(
                f"{name} ({found['n']}), {used}: AUC {auc[0]:.4f} [{auc[1]:.3f}, {auc[2]:.3f}], "
                f"accuracy {accuracy[0]:.3f} [{accuracy[1]:.3f}, {accuracy[2]:.3f}], calibration "
                f"error {found['calibration_error'][0]:.3f} "
                f"({found['calibration_error_if_honest']:.3f} if honest)"
            )
    return lines


def _write(model: EvidenceModel, path: Path) -> None:
    """Write the evidence file, and check that it can be read."""
    content = model.model_dump(mode="json", exclude_none=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, tomli_w.dumps(content))
    except OSError as error:
        raise RunError(f"{path} can't be written ({error.strerror}); change 'out'") from error
    EvidenceModel.read(path)
