"""The learning rate over a fit.

Owns the two schedules. Does not own the optimizer (``optimize``).
"""

import math

from survey_classifier.training.fit_settings import FitSettings

__all__ = ["rate_at"]

WARM_UP = 0.05
"""Share of the steps in which the learning rate rises."""


def rate_at(step: int, n_step: int, settings: FitSettings) -> float:
    """Return the learning rate of a step.

    Parameters
    ----------
    step
        From 0.
    n_step
        Steps of the whole fit, equally many an epoch.
    settings
        Say which schedule, and its highest rate.
    """
    if settings.rate_decay is not None:
        epoch = step * settings.epochs // n_step
        return settings.rate * math.exp(-settings.rate_decay * epoch)
    rise = max(1, round(WARM_UP * n_step))
    if step < rise:
        return settings.rate * (step + 1) / rise
    fall = (step - rise) / max(1, n_step - rise)
    return settings.rate * 0.5 * (1 + math.cos(math.pi * fall))
