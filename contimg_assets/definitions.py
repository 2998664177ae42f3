"""What Dagster loads: everything assembled from its parts, for one configuration."""

from collections.abc import Callable

import dagster as dg

from contimg_assets.config import Config, load_config
from contimg_assets.orchestration import report
from contimg_assets.orchestration.assets import build_assets
from contimg_assets.orchestration.automation.checks import build_checks
from contimg_assets.orchestration.automation.jobs import build_jobs
from contimg_assets.orchestration.automation.schedules import build_nightly_schedule, build_weekly_schedule
from contimg_assets.orchestration.automation.sensors import (
    build_automation_sensor,
    build_deliveries_sensor,
    build_reconciler_sensor,
    build_vanished_sensor,
)
from contimg_assets.orchestration.resources import EXECUTOR, build_resources
from contimg_assets.pipeline.project import Project


def build_definitions(config: Config, read_config: Callable[[], Config] | None = None) -> dg.Definitions:
    """All definitions for a configuration; the command line, tests and Dagster itself call this.

    Parameters
    ----------
    read_config : gives the configuration as it is now, for what lives long (sensors, schedules, jobs): a change takes
        effect there before the definitions are loaded again. ``config`` itself if None
    """
    project = Project(config)

    def open_project() -> Project:
        nonlocal project
        if read_config and (now := read_config()) != project.config:
            project = Project(now)
        return project

    automation = config.automation
    return dg.Definitions(
        assets=[*build_assets(config), *report.build(config)],
        asset_checks=build_checks(automation, open_project),
        resources=build_resources(config, project.products),
        sensors=[
            build_deliveries_sensor(automation, open_project),
            build_automation_sensor(automation),
            build_reconciler_sensor(automation, open_project),
            build_vanished_sensor(automation, open_project),
        ],
        schedules=[
            build_nightly_schedule(automation, open_project),
            build_weekly_schedule(automation),
        ],
        jobs=build_jobs(open_project),
        executor=EXECUTOR,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of the project in the current folder."""
    return build_definitions(load_config(), load_config)
