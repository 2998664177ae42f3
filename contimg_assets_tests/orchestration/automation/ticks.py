"""The automation conditions, driven tick by tick as the daemon evaluates them, without daemon and server."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import dagster as dg

from contimg_assets.definitions import build_definitions
from contimg_assets.identity.epochs import contiguous_ranges
from contimg_assets.orchestration.assets import stage_keys
from contimg_assets.orchestration.assets.products import PRODUCT_KEYS
from contimg_assets.orchestration.partitions import EPOCH_PARTITIONS, RANGE_END_TAG, RANGE_START_TAG
from contimg_assets.pipeline.inputs import SCALES
from contimg_assets.pipeline.project import Project
from contimg_assets.pipeline.stages import EPOCH_STAGES
from contimg_assets_tests.instances import instance_in_memory
from contimg_assets_tests.orchestration.automation.deployment import deliver

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
# So many evaluations after a request nothing more is asked of what it was about (`conditions.nothing_in_the_way`).
SETTLING_TICKS = 2
_ORDER = [stage.name for stage in EPOCH_STAGES]


@dataclass(frozen=True)
class Done:
    """One run: which stages (or tables without epochs) of which epochs, and whether it succeeded."""

    stages: tuple[str, ...]
    epochs: tuple[str, ...]
    success: bool = True


@dataclass
class Automaton:
    """A project on an ephemeral instance; nothing happens but in `observe`, `tick` and `settle`."""

    project: Project
    instance: dg.DagsterInstance
    definitions: dg.Definitions = field(init=False)
    cursor: Any = None
    sensor_cursors: dict[str, str | None] = field(default_factory=dict)
    scales: int = 0

    def __post_init__(self) -> None:
        self.reload()

    def reload(self) -> None:
        """Load the definitions again, as people do after a change of the configuration."""
        self.definitions = build_definitions(self.project.config)

    def deliver(self, *epochs: Path) -> None:
        for epoch in epochs:
            deliver(epoch, self.project.config.incoming)

    def sensor(self, name: str) -> dg.SensorExecutionData:
        """One tick of a sensor; its events are logged and its cursor is kept."""
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.sensor_cursors.get(name), definitions=self.definitions
        )
        found = self.definitions.resolve_sensor_def(name).evaluate_tick(context)
        for event in found.asset_events:
            self.instance.report_runless_asset_event(event)
        self.sensor_cursors[name] = found.cursor
        return found

    def request(self) -> dict[tuple[str, ...], list[str]]:
        """One tick of the conditions: what they ask for, as stages -> epochs."""
        # As the daemon does: the epochs are asked for once a tick, not for each of thousands of subsets.
        keys = functools.cache(self.instance.get_dynamic_partitions)
        with mock.patch.object(self.instance, "get_dynamic_partitions", keys):
            result = dg.evaluate_automation_conditions(self.definitions, self.instance, cursor=self.cursor)
        self.cursor = result.cursor
        by_epoch: dict[str, set[str]] = {}
        for one in result.results:
            if isinstance(one.key, dg.AssetKey) and not one.true_subset.is_empty:
                subset = one.true_subset
                keys = subset.expensively_compute_partition_keys() if subset.is_partitioned else [""]
                for epoch in keys:
                    by_epoch.setdefault(epoch, set()).add(_stage_of(one.key))
        grouped: dict[tuple[str, ...], list[str]] = {}
        for epoch, stages in by_epoch.items():
            order = sorted(stages, key=lambda name: (_ORDER.index(name) if name in _ORDER else -1, name))
            grouped.setdefault(tuple(order), []).append(epoch)
        return grouped

    def tick(self) -> list[Done]:
        """One tick of the conditions, and the runs that it asks for."""
        in_order = list(self.instance.get_dynamic_partitions(EPOCH_PARTITIONS))
        asked = sorted(self.request().items(), key=lambda item: _ORDER.index(item[0][0]) if item[1] != [""] else -1)
        return [
            self.run(stages, part)
            for stages, epochs in asked
            for part in ([[""]] if epochs == [""] else contiguous_ranges(epochs, in_order))
        ]

    def run(self, stages: tuple[str, ...], epochs: list[str]) -> Done:
        job = self.definitions.resolve_implicit_global_asset_job_def()
        if epochs == [""]:
            selection, tags, shown = [dg.AssetKey(name.split("/")) for name in stages], {}, ()
        else:
            selection, shown = stage_keys(stages), tuple(epochs)
            tags = {RANGE_START_TAG: epochs[0], RANGE_END_TAG: epochs[-1]}
        result = job.execute_in_process(
            instance=self.instance, asset_selection=selection, tags=tags, raise_on_error=False, run_config=_QUIET
        )
        return Done(stages, shown, result.success)

    def settle(self, ticks: int = 20) -> list[Done]:
        """Look at the deliveries, then tick until nothing is asked for; the runs, in order."""
        self.sensor("deliveries")
        done: list[Done] = []
        idle = 0
        for _ in range(ticks):
            now = self.tick()
            # The scales between epochs follow every change: `scales` counts their runs.
            self.scales += sum(SCALES in one.stages for one in now)
            done += [one for one in now if SCALES not in one.stages]
            idle = 0 if now else idle + 1
            if idle > SETTLING_TICKS:
                return done
        raise AssertionError(f"the conditions do not come to rest: {done}")


def _stage_of(key: dg.AssetKey) -> str:
    return "products" if key in PRODUCT_KEYS else "/".join(key.path)


@contextmanager
def automated(project: Project) -> Iterator[Automaton]:
    with instance_in_memory() as instance:
        yield Automaton(project, instance)
