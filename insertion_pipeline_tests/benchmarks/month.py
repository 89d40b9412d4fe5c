"""The protection of a month, measured: from its values to the certificate, the attack included. Never a test.

    python -m insertion_pipeline_tests.benchmarks.month --home DIR/home --data-sources DIR/files/data_sources 2026-10

The values are those that a home holds, made by `insertion run --until values`; those of a country, by
`python -m insertion_pipeline_tests.rehearsal.national --persons 200000 --until values --folder DIR`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Final

from insertion_pipeline.disclosure import protect
from insertion_pipeline.indicators.computing import values_path
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import load_registry

_TOLD: Final = ("rows", "statuses", "cells", "equations", "sensitive_cells", "cost", "audit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("month", type=Month.parse)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--data-sources", type=Path, required=True)
    options = parser.parse_args()
    lake = Lake.open(options.home, may_create_keys=False)
    values = lake.read_parquet(values_path(lake, options.month))
    registry = load_registry(options.data_sources)
    began, cpu = time.perf_counter(), time.process_time()
    certificate = protect(values, registry).certificate
    sys.stdout.write(json.dumps({
        "values": len(values),
        "left_out_as_sparse": len(certificate["withheld"]),
        "left_out_as_too_many": len(certificate["withheld_as_too_many"]),
        **{name: certificate[name] for name in _TOLD},
        "seconds": round(time.perf_counter() - began, 1), "processor_s": round(time.process_time() - cpu, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "load": round(os.getloadavg()[0], 1),
    }, indent=1) + "\n")  # fmt: skip


if __name__ == "__main__":
    main()
