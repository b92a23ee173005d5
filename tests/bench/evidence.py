"""How fast evidence is weighed: the arithmetic alone, and a catalog weighed again."""

import os
import time
from pathlib import Path

import numpy as np

from survey_classifier.catalog.footer import Provenance
from survey_classifier.catalog.parts import ROWS_PER_GROUP, new_catalog
from survey_classifier.catalog.schema import build_schema
from survey_classifier.membership.evidence import weigh
from survey_classifier.membership.evidence_model import EvidenceModel
from survey_classifier.membership.priors import PriorTable
from survey_classifier.membership.weighing import Weighing
from survey_classifier.run.reweigh import Changes, reweigh
from tests.bench.result import Result
from tests.evidence_sample import observed_columns

N_ROWS = 1_000_000
GOAL_ROWS_PER_SECOND = 1e6
GOAL_REWEIGH_ROWS_PER_SECOND = 0.25e6
SPECTRA = 0.05
"""Share of the sources that have a redshift."""
ROUNDS = 5


def bench_evidence(folder: Path) -> list[Result]:
    """Weigh a million rows with every kind of evidence, in memory and in a catalog."""
    folder.mkdir(parents=True, exist_ok=True)
    weighing = Weighing(
        evidence=EvidenceModel.read("perseus"),
        prior=PriorTable.read("perseus"),
        center_deg=(49.950667, 41.511696),
    )
    observed = weighing.observe(_columns(N_ROWS, 1))
    seconds, whole = [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        weigh(observed, weighing.evidence, weighing.assumptions)
        seconds.append(time.perf_counter() - start)
    columns = _columns(N_ROWS, 1)
    for _ in range(ROUNDS):
        start = time.perf_counter()
        weighing.weigh(columns)
        whole.append(time.perf_counter() - start)
    path = _catalog(folder / "evidence.parquet", weighing)
    again = folder / "evidence-reweighed.parquet"
    start = time.perf_counter()
    changes = Changes(without=("color",), prior="0.05")
    reweigh(path, changes, out=again, overwrite=True)
    rewritten = time.perf_counter() - start
    detail = {"rows": N_ROWS, "from_columns": round(N_ROWS / min(whole)), "threads": 1}
    size = {"rows": N_ROWS, "cores": os.cpu_count(), "mb": round(again.stat().st_size / 1e6)}
    path.unlink()
    again.unlink()
    return [
        Result("evidence_rows_per_second", N_ROWS / min(seconds), GOAL_ROWS_PER_SECOND,
               detail=detail),
        Result("reweigh_rows_per_second", N_ROWS / rewritten, GOAL_REWEIGH_ROWS_PER_SECOND,
               detail=size),
    ]  # fmt: skip


def _columns(n: int, seed: int) -> dict[str, np.ndarray]:
    columns = observed_columns(n, seed)
    columns["z"][np.random.default_rng(seed).random(n) > SPECTRA] = np.nan
    return columns | {"r0": columns["mag_r"]}


def _catalog(path: Path, weighing: Weighing) -> Path:
    """Write a catalog of numbers that do not repeat, as those of measurements do not."""
    schema = build_schema(("nonmember", "member"), ("g", "r", "z"))
    provenance = Provenance("0" * 64, "bench", "net", "a" * 64, "", {},
                            "2026-01-01T00:00:00+00:00", evidence=weighing.statement)  # fmt: skip
    with new_catalog(path, schema, provenance) as catalog:
        for start in range(0, N_ROWS, ROWS_PER_GROUP):
            n, rng = min(ROWS_PER_GROUP, N_ROWS - start), np.random.default_rng(start)
            known = _columns(n, start)
            columns = {column.name: _filler(column.dtype, n, rng) for column in schema}
            weighed = weighing.weigh(known)
            made = known | weighed.columns | {"p_nonmember": 1 - weighed.p_member}
            columns |= {name: values for name, values in made.items() if name in columns}
            columns["source_id"] = np.array([f"S-{start + i:09d}" for i in range(n)], dtype=object)
            status = np.where(np.isfinite(known["p_image"]), "classified", "no_data")
            columns["status"] = status.astype(object)
            catalog.append(schema.to_arrow(columns))
    return path


def _filler(dtype: str, n: int, rng: np.random.Generator) -> np.ndarray:
    if dtype == "string":
        return np.full(n, "", dtype=object)
    return rng.random(n).astype(dtype) if dtype.startswith("float") else np.zeros(n, dtype)
