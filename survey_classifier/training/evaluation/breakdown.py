"""Sets of objects that are judged apart: by class, color region, magnitude and the like.

Owns which sets there are and their names. Does not own the figures (``measures``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import ConfigError
from survey_classifier.membership.color import ColorCuts, color_region
from survey_classifier.membership.red_sequence import RedSequence
from survey_classifier.problems import nearest_name
from survey_classifier.training.evaluation.judged import Judged
from survey_classifier.training.evaluation.settings import TruthFile
from survey_classifier.training.evaluation.truth import CLASSES

__all__ = ["KINDS", "REGIONS", "UNKNOWN_MAG", "Group", "check_kinds", "groups", "regions"]

Bools = npt.NDArray[np.bool_]

REGIONS = ("red_shoulder", "red_sequence", "green_valley", "blue_cloud")
KINDS = ("class", "region", "mag", "region-mag", "table", "fold")
"""What ``--by`` may name; the sets ``all``, ``galaxies``, ``bright`` and, where there is a second
sample, each sample are always judged; so are those that no network had seen, if some had been.
"""
UNKNOWN_MAG, UNKNOWN_COLOR = "no magnitude", "no color"


@dataclass(frozen=True, slots=True)
class Group:
    """Objects that are judged together."""

    by: str
    """``set`` or one of `KINDS`."""
    name: str
    rows: Bools
    """Shape ``(n,)``, at least one true."""


def check_kinds(by: Sequence[str]) -> None:
    """Refuse a kind of sets that there is not.

    Parameters
    ----------
    by
        Kinds, which should be of `KINDS`.

    Raises
    ------
    ConfigError
        If one is none of these.
    """
    for kind in by:
        if kind not in KINDS:
            raise ConfigError(f"--by has the unknown {kind!r}; {nearest_name(kind, set(KINDS))}")


def regions(judged: Judged, file: TruthFile) -> npt.NDArray[np.str_]:
    """Return the color region of each object, '' where its color is not known.

    Parameters
    ----------
    judged
        The objects.
    file
        Names the red sequence.
    """
    cuts = ColorCuts.around(RedSequence.read(file.named(file.red_sequence)))
    return color_region(judged.truth.delta_rs, judged.truth.delta_rs_err, cuts)


def groups(judged: Judged, file: TruthFile, by: Sequence[str]) -> list[Group]:
    """Return the sets of objects, empty ones left out.

    Parameters
    ----------
    judged
        The objects.
    file
        Names the red sequence and the edges of the bins of magnitude.
    by
        Some of `KINDS`. The sets of each hold all objects; but those of folds leave out the second
        sample.
    """
    found = [Group("set", name, rows) for name, rows in _sets(judged)]
    for kind in KINDS:
        if kind in by:
            found += [Group(kind, name, rows) for name, rows in _split(judged, file, kind)]
    return [group for group in found if group.rows.any()]


def _sets(judged: Judged) -> Iterator[tuple[str, Bools]]:
    """Yield the sets that are always judged; each only where it differs from those before."""
    everyone = np.ones(len(judged), dtype=np.bool_)
    second = judged.is_second
    galaxies = judged.truth.true_class != CLASSES[2]
    bright = judged.truth.is_bright
    yield "all", everyone
    if not galaxies.all():
        yield "galaxies", galaxies
    if not bright.all():
        yield "bright", bright
        if not galaxies[bright].all():
            yield "bright galaxies", bright & galaxies
    if second.any():
        yield "first sample", ~second
        yield "second sample", second
    if judged.is_seen.any() and not judged.is_seen.all():
        yield "not seen", ~judged.is_seen


def _split(judged: Judged, file: TruthFile, kind: str) -> Iterator[tuple[str, Bools]]:
    """Yield the sets of a kind."""
    truth = judged.truth
    if kind == "class":
        yield from ((name, truth.true_class == name) for name in CLASSES)
    elif kind == "region":
        yield from _regions(judged, file)
    elif kind == "mag":
        yield from _mag_bins(judged, file)
    elif kind == "region-mag":
        bins = list(_mag_bins(judged, file))
        for name, there in _regions(judged, file):
            if name == UNKNOWN_COLOR:
                yield name, there
            else:
                yield from ((f"{name} {bin_}", rows & there) for bin_, rows in bins)
    elif kind == "table":
        if len(file.data) > 1:
            yield from _tables(judged, file)
    else:
        yield from (
            (str(number), judged.fold == number)
            for number in np.unique(judged.fold[~judged.is_second])
        )


def _tables(judged: Judged, file: TruthFile) -> Iterator[tuple[str, Bools]]:
    """Yield the objects of each table, and where it holds stars, too, its galaxies."""
    is_star = judged.truth.true_class == CLASSES[2]
    for row, data in enumerate(file.data):
        rows = judged.truth.table == row
        yield data.name, rows
        if (rows & is_star).any():
            yield f"{data.name} galaxies", rows & ~is_star


def _regions(judged: Judged, file: TruthFile) -> Iterator[tuple[str, Bools]]:
    """Yield the objects of each color region, and those of unknown color."""
    region = regions(judged, file)
    yield from ((name, region == name) for name in REGIONS)
    yield UNKNOWN_COLOR, region == ""


def _mag_bins(judged: Judged, file: TruthFile) -> Iterator[tuple[str, Bools]]:
    """Yield half-open bins of magnitude, those beyond the edges, and the unknown magnitudes."""
    mag, edges = judged.truth.mag, file.mag_edges
    yield f"< {edges[0]:g}", mag < edges[0]
    for low, high in pairwise(edges):
        yield f"{low:g}-{high:g}", (mag >= low) & (mag < high)
    yield f">= {edges[-1]:g}", mag >= edges[-1]
    yield UNKNOWN_MAG, np.isnan(mag)
