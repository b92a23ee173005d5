"""Run the benchmarks: ``python -m tests.bench [NAME ...]``."""

import json
import sys
from pathlib import Path

from tests.bench.detection import bench_detection
from tests.bench.efficiency import bench_efficiency
from tests.bench.evidence import bench_evidence
from tests.bench.ingest import bench_ingest
from tests.bench.ingest_memory import bench_ingest_memory
from tests.bench.memory import bench_memory
from tests.bench.redshift_join import bench_redshift_join
from tests.bench.stamps import bench_stamps
from tests.bench.storage import bench_storage

BENCHES = {
    "detection": bench_detection,
    "stamps": bench_stamps,
    "memory": bench_memory,
    "efficiency": bench_efficiency,
    "storage": bench_storage,
    "evidence": bench_evidence,
    "ingest": bench_ingest,
    "ingest_memory": bench_ingest_memory,
    "redshift_join": bench_redshift_join,
}


def main() -> None:
    """Run all benchmarks, or those named, and write out/bench.json."""
    folder = Path("out/bench")
    rows = []
    for name in sys.argv[1:] or BENCHES:
        for result in BENCHES[name](folder):
            row = result.row()
            rows.append(row)
            mark = "holds" if row["holds"] else "MISSED"
            print(
                f"{row['name']:20} {row['value']:8} goal {row['goal']:<5} {mark}  {row['detail']}"
            )
    Path("out/bench.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
