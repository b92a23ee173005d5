"""Which scores of a training are of objects that the network had been trained on.

Owns that, the names of the figures of such objects, and what is said of them. Does not own the
scores (``judgment``) nor what a training starts from (``start``).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey_classifier.training.dataset import TrainingSet
from survey_classifier.training.judgment import Judged
from survey_classifier.training.recipes import Recipe
from survey_classifier.training.split import SECOND_SAMPLE
from survey_classifier.training.start import Start

__all__ = ["SEEN", "Hindsight", "hindsight"]

SEEN = "_seen"
"""End of the names of figures of which some objects had been seen."""
SECOND = "second_sample"
"""End of the names of figures of objects that no network is fitted to."""
BETTER = f"figures {SEEN[1:]!r} are better than they would be of other objects"


@dataclass(frozen=True, slots=True)
class Hindsight:
    """What a training's scores are worth."""

    seen: npt.NDArray[np.bool_]
    """Whether the network that scored it, or one that it began from, had been trained on the
    object as far as is known; of each score, shape ``(n,)``."""
    is_unsure: npt.NDArray[np.bool_]
    """Whether that is not known: first weights had been fitted to other files, which may hold the
    object under another name."""
    metrics: dict[str, float]
    """The figures, by names that tell."""
    notes: tuple[str, ...]
    """What is to be known of them."""


def hindsight(recipe: Recipe, data: TrainingSet, start: Start, judged: Judged) -> Hindsight:
    """Find out which scores are of objects that their network had been trained on.

    Of a mosaic that first weights were fitted to nobody can say which objects these were, so all
    that are cut from it count. Of a file that they were not fitted to nobody can say which of its
    objects they know from another.

    Parameters
    ----------
    recipe
        The recipe.
    data
        The objects.
    start
        What the networks began from.
    judged
        The scores.
    """
    known = [start.seen(origin) for origin in data.origins]
    began = np.array([bool(names) for names in known])[data.block_of][judged.samples.rows]
    seen = judged.seen | began
    first = tuple(digest.name for digest in start.data)
    is_unsure = ~seen if first else np.zeros_like(seen)
    names = list(_named(recipe, data, known))
    notes = []
    if began.any():
        notes.append(
            f"the first weights, of {start.checkpoint[0].name}, had seen {', '.join(names)}, so"
            f" {began.sum()} of {len(began)} scores are of objects that count as seen; {BETTER}"
        )
    if is_unsure.any():
        notes.append(
            f"the first weights, of {start.checkpoint[0].name}, were fitted to objects of"
            f" {', '.join(first)}; whether {is_unsure.sum()} of {len(seen)} scores are of any of"
            " these is not known: if so, figures are better than they would be of other objects"
        )
    if judged.seen.any():
        n_test = int((judged.fold != SECOND_SAMPLE).sum())
        notes.append(
            f"the split leaks: {judged.seen.sum()} of {n_test} copies in the test are of objects"
            f" that the network had been trained on; {BETTER}"
        )
    return Hindsight(seen, is_unsure, _renamed(judged, seen), tuple(notes))


def _named(recipe: Recipe, data: TrainingSet, known: list[tuple[str, ...]]) -> Iterator[str]:
    """Yield the names of files that first weights were fitted to, each once."""
    told = set()
    for settings, origin, names in zip(recipe.data, data.origins, known, strict=True):
        for name in names:
            if name not in told:
                is_mosaic = bool(settings.store) and name == origin[-1].name
                yield f"{name} (nobody knows which objects of it)" if is_mosaic else name
            told.add(name)


def _renamed(judged: Judged, seen: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Return the figures by names that tell whether some of their objects had been seen."""
    is_second = judged.fold == SECOND_SAMPLE
    end = {second: SEEN if seen[is_second == second].any() else "" for second in (False, True)}
    return {f"{name}{end[name.endswith(SECOND)]}": value for name, value in judged.metrics.items()}
