"""The fits that one network takes: what it learns first, from whom, and then.

Owns their order. Does not own the losses (``lessons``), the fit (``optimize``) or where states and
logs are (``fit``).
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from survey_classifier.model.network import Network
from survey_classifier.training.lessons import Lesson, from_labels, from_teachers, from_views
from survey_classifier.training.optimize import Task
from survey_classifier.training.samples import Samples
from survey_classifier.training.start import without_head

__all__ = ["Stage", "fit_in_stages"]

Stage = Callable[[Task, Samples, Lesson, str], Network]
"""Fits a network to samples by a lesson; the suffix tells the fits of one network apart."""

N_AXES = 64
"""Dimensions in which views are compared."""


def fit_in_stages(task: Task, samples: Samples, fit: Stage) -> Network:
    """Return a network that has gone through all stages of the settings.

    Every stage sees the same objects, so those that are to judge the network are new to all of it.

    Parameters
    ----------
    task
        Says the stages.
    samples
        What to fit.
    fit
        Does one stage.
    """
    settings = task.settings
    if settings.contrast_epochs:
        task = replace(task, start=_contrasted(task, samples, fit))
    if not settings.n_teachers:
        return fit(task, samples, from_labels, "")
    teachers = []
    for number in range(1, settings.n_teachers + 1):
        other = settings.model_copy(update={"seed": settings.seed + number})
        network = fit(replace(task, settings=other), samples, from_labels, f"-teacher-{number}")
        teachers.append(network.to(task.team.device))
    return fit(task, samples, from_teachers(teachers), "")


def _contrasted(task: Task, samples: Samples, fit: Stage) -> dict[str, torch.Tensor]:
    """Return the weights below the head of a network that knows views of one object as such.

    Objects weigh the same and lie at any angle: one that is twice in a batch would be told to
    differ from itself.
    """
    settings = task.settings
    axes = tuple(f"axis-{number}" for number in range(N_AXES))
    first = replace(
        task,
        card=task.card.model_copy(update={"classes": axes}),
        start=without_head(task.start),
        settings=settings.model_copy(
            update={"epochs": settings.contrast_epochs, "weight_power": 0.0}
        ),
    )
    network = fit(first, Samples.of(np.unique(samples.rows)), from_views, "-contrast")
    return without_head(network.state_dict())
