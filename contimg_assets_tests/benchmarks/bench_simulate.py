"""How fast skies are simulated: `python -m contimg_assets_tests.benchmarks.bench_simulate`."""

import resource
import tempfile
import time
from pathlib import Path

from contimg_assets.simulate import SurveyParameters, simulate_detections, simulate_survey


def main() -> None:
    for n_sources, n_epochs in ((10_000, 100), (100_000, 10)):
        start = time.perf_counter()
        rows = sum(len(table) for table in simulate_detections(n_sources, n_epochs))
        seconds = time.perf_counter() - start
        print(
            f"simulate_detections({n_sources}, {n_epochs}): {rows} rows, {seconds:.2f} s, {rows / seconds:,.0f} rows/s"
        )
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        truth = simulate_survey(Path(folder), SurveyParameters())
        seconds = time.perf_counter() - start
        print(f"simulate_survey(): {len(truth.measurements)} rows in {len(truth.images)} files in {seconds:.2f} s")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
