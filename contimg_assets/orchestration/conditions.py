"""When an epoch of an asset is made again by itself: built-in conditions only, so that the UI can explain each
decision.

Edges (something changed) are latched until they are handled. What an edge may miss, for example an input that changes
while a run is reading it, is caught by `contimg_assets.pipeline.staleness`: it compares versions, listening to no
event. A failure is no edge: internal errors are tried again within their run, dead runs are started again by
Dagster's run monitoring, and a bad input stays failed, visibly, until it changes.
"""

from typing import Any

import dagster as dg
from dagster import AutomationCondition

_requested = AutomationCondition.newly_requested()
_updated = AutomationCondition.newly_updated()
_handled = AutomationCondition.newly_requested() | AutomationCondition.newly_updated()


def upstream_content_changed() -> Any:
    """Content of an upstream asset changed, not merely its materialization's time."""
    return AutomationCondition.any_deps_match(AutomationCondition.data_version_changed()).with_label(
        "upstream_content_changed"
    )


def upstream_is_requested() -> Any:
    """An upstream asset is part of the run that is about to be launched, so this one joins it."""
    return AutomationCondition.any_deps_match(AutomationCondition.will_be_requested()).with_label(
        "upstream_is_requested"
    )


def own_need() -> AutomationCondition[Any]:
    """Never made, or made by other code or configuration."""
    return (AutomationCondition.newly_missing() | AutomationCondition.code_version_changed()).with_label("own_need")


def lately(busy: AutomationCondition[Any]) -> AutomationCondition[Any]:
    """True now or at the evaluation before.

    One evaluation takes a while and sees events as of its beginning, but runs as they are at its end: a stage that was
    finished meanwhile looks neither in progress nor done, though what it was made from looks new.
    """
    idle = ~busy
    return busy.since(idle & ~idle.newly_true()).with_label("lately_in_progress")


def lately_worked_on() -> AutomationCondition[Any]:
    """Somebody works, or has just worked, on this asset or on what it is made from.

    What was just requested counts: a short run begins and ends between two evaluations, so that none ever sees it in
    progress, and its last stages would then be asked for once more because its first ones are news.
    """
    return lately(AutomationCondition.any_deps_in_progress() | AutomationCondition.in_progress() | _requested)


def nothing_in_the_way() -> AutomationCondition[Any]:
    """Upstream is there, and nobody works, or has just worked, on it or on this asset."""
    return (~AutomationCondition.any_deps_missing() & ~lately_worked_on()).with_label("nothing_in_the_way")


def since_request(changed: AutomationCondition[Any]) -> AutomationCondition[Any]:
    """Changes that came after the request that they would otherwise be settled by.

    A request shows at the next evaluation. What upstream made between the two, in a run whose later steps were then
    skipped because another epoch failed, is a reason to ask once more; the next request or our own update settles it.
    """
    latched: Any = (changed & _requested).since(_updated | (_requested & ~changed))
    labeled: AutomationCondition[Any] = latched.with_label("changed_since_request")
    return labeled


def on_delivery() -> AutomationCondition[Any]:
    """For assets that read the outside: only a *request* settles a change.

    A file that changes while a run reads it must count again; the run's own materialization must not clear it.
    """
    wanted = upstream_content_changed().since(_requested) | own_need().since(_handled)
    condition: AutomationCondition[Any] = (wanted & nothing_in_the_way()).with_label("on_delivery")
    return condition


def on_any_epoch() -> Any:
    """For assets that take all epochs together: content of any epoch changed, once nobody works on any.

    An epoch that is missing upstream, because it failed, holds the others back no more than elsewhere; and where there
    is no epoch at all there is nothing to make.
    """
    content_changed = upstream_content_changed()
    changed = content_changed | AutomationCondition.code_version_changed()
    wanted = changed.since(_handled) | since_request(content_changed)
    return (wanted & ~lately_worked_on()).with_label("on_any_epoch")


def on_upstream_change(outside: dg.AssetSelection | None = None) -> AutomationCondition[Any]:
    """For stages: upstream content changed, or upstream runs now.

    Parameters
    ----------
    outside : upstream assets that can change at any time (reference catalogs); as in `on_delivery`, only a request
        settles their changes
    """
    content_changed = upstream_content_changed()
    wanted: AutomationCondition[Any]
    if outside is None:
        changed = content_changed | upstream_is_requested() | own_need()
        wanted = changed.since(_handled) | since_request(content_changed)
    else:
        from_outside, from_stages = content_changed.allow(outside), content_changed.ignore(outside)
        changed = from_stages | upstream_is_requested().ignore(outside) | own_need()
        wanted = from_outside.since(_requested) | changed.since(_handled) | since_request(from_stages)
    return (wanted & nothing_in_the_way()).with_label("on_upstream_change")
