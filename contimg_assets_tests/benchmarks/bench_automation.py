"""How long a tick of each sensor and a look at everything take with thousands of epochs, and how large cursors grow.

    python -m contimg_assets_tests.benchmarks.bench_automation [--epochs 5000] [--files 12]

Deliveries are small files; what the stages would have made of them is written as records without tables.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import dagster as dg
import sqlalchemy as sa

from contimg_assets.config import Config
from contimg_assets.database.engine import writing
from contimg_assets.database.models import TABLES
from contimg_assets.definitions import build_definitions
from contimg_assets.orchestration.runs.event_storage import OpenSqliteStorage
from contimg_assets.pipeline.inputs import STATE_AFTER, of, takes_part
from contimg_assets.pipeline.products import CODE
from contimg_assets.pipeline.project import Project
from contimg_assets.pipeline.records import RECORD, EpochRecord, StoredTable
from contimg_assets.pipeline.stages import EPOCH_STAGES, NOTHING_BEFORE, PRODUCTS

_HEADER = "image,catalogue,mjd_mid,ra_deg,dec_deg,radius_deg,bmaj_arcsec,bmin_arcsec,bpa_deg,freq_mhz,rms_mjy_beam\n"


def deliver(incoming: Path, n_epochs: int, n_files: int) -> None:
    """Epochs of ``n_files`` files each, the manifest among them, written long ago."""
    for number in range(n_epochs):
        folder = incoming / f"epoch{number:05d}"
        folder.mkdir(parents=True)
        rows = [
            f"i{image},c{image}.csv,{60000 + number + image / 100},10,20,1,5,5,0,1400,0.1"
            for image in range(n_files - 1)
        ]
        (folder / "images.csv").write_text(_HEADER + "\n".join(rows) + "\n")
        for image in range(n_files - 1):
            (folder / f"c{image}.csv").write_text(f"{number},{image}\n" * 20)
        for file in folder.iterdir():
            os.utime(file, (1e9, 1e9))


def make(project: Project) -> None:
    """Records of all stages for all deliveries, as if everything had been made."""
    project.products.upgrade()
    world = project.world()
    before = dict(NOTHING_BEFORE)
    rows: dict[str, list[dict[str, object]]] = {"epochs": [], "epoch_versions": []}
    for delivery in project.deliveries():
        for stage in EPOCH_STAGES:
            if not takes_part(stage, delivery.epoch, world):
                continue
            inputs = of(stage, delivery.epoch, world, before.get(stage.name, ""))
            code = stage.code_version(project.config)
            if stage is PRODUCTS:
                epoch = {"epoch": delivery.epoch, "content_version": "0" * 16, "mjd_start": delivery.mjd}
                counts = dict.fromkeys(("n_images", "n_measurements", "n_duplicates", "n_associations"), 0)
                rows["epochs"].append(epoch | {"mjd_end": delivery.mjd} | counts)
                made_from = inputs | {CODE: code}
                rows["epoch_versions"] += [
                    {"epoch": delivery.epoch, "name": name, "version": version} for name, version in made_from.items()
                ]
                continue
            state = f"{stage.name}{delivery.epoch}"
            tables = {table.name: StoredTable(f"{table.name}-0.parquet", 100, "0" * 16) for table in stage.tables}
            facts = {"mjd_first": delivery.mjd} | ({STATE_AFTER: state} if stage.folds else {})
            record = EpochRecord(stage.name, delivery.epoch, f"{stage.name[:4]}0", code, inputs, tables, facts)
            if stage.folds:
                before[stage.name] = state
            file = project.config.store / stage.name / delivery.epoch / RECORD
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps(asdict(record), indent=1))
            for table in tables.values():
                (file.parent / table.file).touch()
    with writing(project.products.engine) as connection:
        for name, values in rows.items():
            connection.execute(sa.insert(TABLES[name]), values)


def _storage(folder: str) -> dict[str, object]:
    """As a project's `dagster.yaml` has it."""
    place = {"module": OpenSqliteStorage.__module__, "class": OpenSqliteStorage.__name__}
    return {"storage": {"custom": {**place, "config": {"base_dir": f"{folder}/.dagster"}}}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=5000)
    parser.add_argument("--files", type=int, default=12)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, dg.instance_for_test(overrides=_storage(folder)) as instance:
        project = Project(Config(root=Path(folder)))
        deliver(project.config.incoming, options.epochs, options.files)
        definitions = build_definitions(project.config)
        cursors: dict[str, str | None] = {}

        def tick(name: str) -> str:
            context = dg.build_sensor_context(instance=instance, cursor=cursors.get(name), definitions=definitions)
            found = definitions.resolve_sensor_def(name).evaluate_tick(context)
            cursors[name] = found.cursor
            waiting.extend(event for event in found.asset_events if isinstance(event, dg.AssetMaterialization))
            said = f"{len(found.asset_events)} events, {len(found.run_requests or ())} runs, {found.skip_message or ''}"
            return f"{said[:60]}, cursor {len(found.cursor or '') / 1e3:.1f} kB"

        waiting: list[dg.AssetMaterialization] = []

        def report() -> str:
            for event in waiting:
                instance.report_runless_asset_event(event)
            n = len(waiting)
            waiting.clear()
            return f"{n} events"

        automaton: dict[str, object] = {}

        def conditions() -> str:
            found = dg.evaluate_automation_conditions(definitions, instance, cursor=automaton.get("cursor"))  # type: ignore[arg-type]
            automaton["cursor"] = found.cursor
            return f"{found.total_requested} requested"

        def change() -> None:
            file = project.config.incoming / "epoch00007" / "c0.csv"
            file.write_text(file.read_text() + "1,2\n")
            os.utime(file, (1e9 + 1, 1e9 + 1))

        print(f"{options.epochs} epochs of {options.files} files")
        measure("deliveries, first tick", lambda: tick("deliveries"))
        measure("  the daemon logs its events, once", report)
        make(project)
        for name in ("deliveries", "reconciler", "vanished_epochs"):
            for _ in range(3):
                measure(f"{name}, nothing changed", lambda name=name: tick(name))
        measure("automation, first evaluation", conditions)
        for _ in range(3):
            measure("automation, nothing changed", conditions)
        measure("assess (contimg status)", lambda: str(dict(project.assess()["state"].value_counts())))
        change()
        for name in ("deliveries", "reconciler", "reconciler", "vanished_epochs"):
            measure(f"{name}, one epoch changed", lambda name=name: tick(name))
        measure("automation, one epoch changed", conditions)


def measure(what: str, work: Callable[[], str]) -> None:
    begun = time.perf_counter()
    answer = work()
    print(f"{what:60s} {time.perf_counter() - begun:7.2f} s   {answer}", flush=True)


if __name__ == "__main__":
    main()
