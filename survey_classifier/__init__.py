"""Galaxy-cluster membership for every source of a survey field.

The verbs of the command line are functions here: ``from survey_classifier import classify``.
They are imported on first use, so that importing the package loads neither torch nor dask.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_VERBS = {
    "classify": "survey_classifier.run.classify",
    "detect": "survey_classifier.run.detect",
    "ingest": "survey_classifier.run.classify",
    "plan": "survey_classifier.run.plan",
    "publish": "survey_classifier.run.classify",
    "score": "survey_classifier.run.score",
    "simulate": "survey_classifier.synthetic.field",
    "train": "survey_classifier.training.fit",
    "watch": "survey_classifier.run.watch",
}

__all__ = [
    "__version__",
    "classify",
    "detect",
    "ingest",
    "plan",
    "publish",
    "score",
    "simulate",
    "train",
    "watch",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the verb's module holds
    if name not in _VERBS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_VERBS[name]), name)
