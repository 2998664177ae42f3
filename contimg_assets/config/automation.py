"""Section `automation`: when things happen by themselves."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field

from contimg_assets.config.section import Section
from contimg_assets.errors import meant


def _known_zone(name: str) -> str:
    if name != "UTC" and name not in (zones := available_timezones()):
        raise ValueError(f"no time zone {name!r}{meant(name, zones)}; write one such as America/Los_Angeles")
    return name


def _of_the_web(address: str) -> str:
    if address and not address.startswith(("http://", "https://")):
        raise ValueError("must be a whole address, such as http://127.0.0.1:8765, or empty")
    return address


class Automation(Section):
    """When things happen by themselves."""

    # What came later than configurations whose version is kept.
    added = frozenset({"web_url"})

    nightly_cron: str = Field("0 3 * * *", description="When missing and stale epochs are materialized (cron)")
    weekly_cron: str = Field("0 12 * * 0", description="When database and store are compacted and tidied (cron)")
    timezone: Annotated[str, AfterValidator(_known_zone)] = Field("UTC", description="Time zone of the schedules")
    web_url: Annotated[str, AfterValidator(_of_the_web)] = Field(
        "http://127.0.0.1:8765",
        description="Address of `contimg web`, where Dagster's pages of assets lead to; no links if empty",
    )
    sensor_interval_seconds: int = Field(5, ge=1, description="How often the incoming folder is looked at [s]")
    conditions_interval_seconds: int = Field(
        5, ge=1, description="How often Dagster evaluates the assets' automation conditions [s]"
    )
    reconcile_interval_seconds: int = Field(
        300, ge=1, description="How often all versions are compared, to make what no event asked for [s]"
    )
    settle_seconds: float = Field(
        2.0, ge=0, description="Files must have been still this long before an epoch is taken [s]"
    )
    remove_vanished: bool = Field(
        False, description="Whether an epoch whose delivery is gone is removed from store and products"
    )
    vanished_hours: float = Field(
        24.0, ge=0, description="How long a delivery must be gone before its epoch is removed [h]"
    )
    max_hours_without_epoch: float = Field(
        72.0, gt=0, description="The freshness check warns when no new epoch came for so long [h]"
    )
    keep_unreferenced_hours: float = Field(
        24.0, ge=0, description="Files in the store that nothing refers to are removed when older than this [h]"
    )
