"""Joining redshifts to sources: ten million sources, a million spectra."""

import json
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import numpy as np

from survey_classifier.sources.redshift_match import match_redshifts
from survey_classifier.sources.redshifts import Redshifts
from tests.bench.result import Result

N_SOURCE, N_SPECTRUM = 10_000_000, 1_000_000
SIDE_DEG, DEC_DEG = 18.0, 35.0
"""Of the field: 43 000 sources in a square degree; there are 37 000 with V < 22 toward Perseus."""
CLUSTERED, GROUP_DEG = 0.3, 0.02
"""Share of the sources in groups, and the size of these."""
RADIUS_ARCSEC = 1.5


def bench_redshift_join(folder: Path) -> list[Result]:
    """Join in a process of its own; positions are made before the clock runs."""
    del folder
    command = [sys.executable, "-m", "tests.bench.redshift_join"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seen = json.loads(done.stdout)
    detail = {key: seen[key] for key in ("n_source", "n_spectrum", "n_matched", "right")}
    return [
        Result("redshift_join_s", seen["seconds"], 60, at_most=True, detail=detail),
        Result("redshift_join_rss_gb", seen["rss_gb"], 4, at_most=True),
    ]


def positions(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a field of sources, some of them in groups."""
    ra = rng.uniform(40, 40 + SIDE_DEG, N_SOURCE)
    dec = rng.uniform(DEC_DEG, DEC_DEG + SIDE_DEG, N_SOURCE)
    n_grouped = int(CLUSTERED * N_SOURCE)
    center = rng.integers(n_grouped, N_SOURCE, n_grouped) // 1000 * 1000  # a thousand a group
    ra[:n_grouped] = ra[center] + rng.normal(0, GROUP_DEG, n_grouped)
    dec[:n_grouped] = dec[center] + rng.normal(0, GROUP_DEG, n_grouped)
    return ra, dec


def measure() -> dict[str, float]:
    """Make the tables and join them."""
    rng = np.random.default_rng(1)
    ra, dec = positions(rng)
    of = rng.choice(N_SOURCE, N_SPECTRUM, replace=False)
    offset = rng.normal(0, 0.2 / 3600, (2, N_SPECTRUM))
    no_text = np.full(N_SPECTRUM, "", dtype=object)
    redshifts = Redshifts(
        object_id=np.array([str(number) for number in range(N_SPECTRUM)], dtype=object),
        ra_deg=ra[of] + offset[0],
        dec_deg=dec[of] + offset[1],
        z=rng.exponential(0.1, N_SPECTRUM),
        z_err=np.full(N_SPECTRUM, 1e-5),
        z_warning=np.zeros(N_SPECTRUM, dtype=np.int32),
        spec_class=no_text,
        source_id=no_text,
        z_source=no_text,
    )
    start = perf_counter()
    match = match_redshifts(ra, dec, redshifts, RADIUS_ARCSEC)
    seconds = perf_counter() - start
    # Not ru_maxrss: a child inherits that of the process that started it.
    peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
    return {
        "seconds": seconds,
        "rss_gb": peak * 1024 / 1e9,
        "n_source": N_SOURCE,
        "n_spectrum": N_SPECTRUM,
        "n_matched": int((match.index >= 0).sum()),
        "right": round(float((match.index[of] == np.arange(N_SPECTRUM)).mean()), 4),
    }


if __name__ == "__main__":
    print(json.dumps(measure()))
