"""One deployment for the stories of a file, told in their order; each leaves everything made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contimg_assets_tests.orchestration.automation.deployment import (
    Deployment,
    assert_same_products,
    deployed,
    from_scratch,
    make_project,
    products,
    small_survey,
)
from contimg_assets_tests.projects import without_compute_logs


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Epochs to deliver, in time order."""
    return small_survey(tmp_path_factory.mktemp("survey"), 16)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, survey: list[Path]) -> Iterator[Deployment]:
    project = make_project(tmp_path_factory.mktemp("daemon") / "project", survey[0].parents[1])
    without_compute_logs(project.config.root)
    with deployed(project) as running:
        running.settle()
        yield running


@pytest.fixture
def happens(deployment: Deployment) -> Callable[[], list[dict[str, Any]]]:
    """Call it to wait until everything is made; gives the runs that this test caused."""
    before = {run["runId"] for run in deployment.runs()}

    def caused() -> list[dict[str, Any]]:
        deployment.settle()
        return [run for run in deployment.runs() if run["runId"] not in before]

    return caused


@pytest.fixture
def as_from_scratch(deployment: Deployment, tmp_path: Path) -> Iterator[None]:
    """After the test the products are those of a run from scratch."""
    yield
    assert_same_products(products(deployment.project), from_scratch(deployment.project, tmp_path / "from_scratch"))
