"""The tables of an evaluation that programs read.

Owns their columns. Does not own any number (``results``) nor the tables that readers see
(``tables``).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from survey_classifier.training.evaluation.breakdown import regions
from survey_classifier.training.evaluation.measures import COMPARED, MEASURES
from survey_classifier.training.evaluation.resampling import Figure
from survey_classifier.training.evaluation.results import Measured, Results
from survey_classifier.training.evaluation.truth import CLASSES

__all__ = ["result_tables"]

Columns = dict[str, npt.NDArray[Any]]


def result_tables(results: Results) -> dict[str, Columns]:
    """Return the tables of an evaluation by name; those of claimed errors only if there are any.

    Parameters
    ----------
    results
        All figures.
    """
    found = {
        "measures": _measures(results),
        "compared": _compared(results),
        "confusion": _confusion(results),
        "curves": _curves(results),
        "reliability": _reliability(results),
        "objects": _objects(results),
    }
    if results.claims:
        found |= {"errors": _errors(results), "error-fifths": _fifths(results)}
    return found


def _measures(results: Results) -> Columns:
    """Return a row for each set and forecast."""
    rows = []
    for found in results.measured:
        for name, figures in found.figures.items():
            counts = results.confusion(name, found.group)
            row = _where(found, name) | {
                "n": found.n,
                "n_member": found.n_member,
                "n_hit": counts.n_hit,
                "n_missed": counts.n_missed,
                "n_false": counts.n_false,
                "n_rejected": counts.n_rejected,
            }
            for key in MEASURES:
                row |= _cells(key, figures[key])
            rows.append(row)
    return _columns(rows)


def _where(found: Measured, name: str) -> dict[str, Any]:
    """Return the cells that say which set and forecast a row is of."""
    return {"by": found.group.by, "group": found.group.name, "forecast": name}


def _compared(results: Results) -> Columns:
    """Return a row for each set and forecast but the first: figures less those of the first."""
    rows = []
    for found in results.measured:
        for name, differences in found.differences.items():
            row = _where(found, name) | {"less": results.first, "n": found.n}
            for key in COMPARED:
                row |= _cells(key, differences[key])
            rows.append(row)
    return _columns(rows)


def _confusion(results: Results) -> Columns:
    """Return a row for each forecast and true class."""
    rows = []
    for name in results.forecasts:
        for kind, (member, other) in zip(CLASSES, results.called(name).tolist(), strict=True):
            counts = {"called_member": member, "called_nonmember": other}
            rows.append({"forecast": name, "true_class": kind} | counts)
    return _columns(rows)


def _curves(results: Results) -> Columns:
    """Return the points of all curves."""
    rows = []
    for name, kinds in results.curves.items():
        for kind, line in kinds.items():
            for point in range(len(line["x"])):
                values = {key: float(line[key][point]) for key in ("x", "y", "low", "high")}
                rows.append({"forecast": name, "curve": kind} | values)
    return _columns(rows)


def _reliability(results: Results) -> Columns:
    """Return a row for each forecast and bin with objects."""
    return _columns(
        [
            {"forecast": name, "mean_p": p, "member_share": share, "share_err": err, "n": n}
            for name, bins in results.reliability.items()
            for p, share, err, n in zip(
                bins.mean_p, bins.member_share, bins.share_err, bins.n, strict=True
            )
        ]
    )


def _objects(results: Results) -> Columns:
    """Return a row for each object."""
    truth = results.judged.truth
    tables = np.array([data.name for data in results.file.data], dtype=object)
    return {
        "id": truth.object_id,
        "ra": truth.ra_deg,
        "dec": truth.dec_deg,
        "table": tables[truth.table],
        "true_class": truth.true_class,
        "fold": results.judged.fold,
        "mag": truth.mag,
        "delta_rs": truth.delta_rs,
        "color_region": regions(results.judged, results.file).astype(object),
        **{f"p_{_word(name)}": p for name, p in results.forecasts.items()},
        **{f"err_{_word(name)}": claim.p_err for name, claim in results.judged.claims.items()},
    }


def _errors(results: Results) -> Columns:
    """Return a row for each large set and score with claimed errors."""
    return _columns(
        [
            {
                "by": found.group.by,
                "group": found.group.name,
                "forecast": found.forecast,
                "n": found.n,
                "n_wrong": found.n_wrong,
                **_cells("correlation", found.correlation),
                **_cells("correlation_alike", found.correlation_alike),
            }
            for found in results.claims
        ]
    )


def _fifths(results: Results) -> Columns:
    """Return a row for each fifth of the claimed errors of each score."""
    return _columns(
        [
            {
                "forecast": found.forecast,
                "among": found.among,
                "fifth": found.number,
                "n": found.n,
                "least_err": found.least_err,
                "largest_err": found.largest_err,
                **_cells("wrong", found.wrong),
                "expected": found.expected,
            }
            for found in results.fifths
        ]
    )


def _cells(name: str, figure: Figure) -> dict[str, float]:
    """Return the three columns of a figure."""
    return {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}


def _columns(rows: Sequence[dict[str, Any]]) -> Columns:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _word(name: str) -> str:
    """Return a name as a column may have it; that of a score has its p already."""
    return name.removeprefix("p_").replace(" ", "_")
