"""An epoch that is folded but not fit for the products: those whose forks copied its rows do not wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contimg_assets.errors import QualityError
from contimg_assets.orchestration.assets import catalog_matches
from contimg_assets.pipeline.outcomes import Content
from contimg_assets_tests.histories import CONFIGURATIONS, WHOLE, Sky, quick, told
from contimg_assets_tests.projects import assert_same_rows

make = catalog_matches.make


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sky]:
    with quick():
        yield Sky(tmp_path_factory.mktemp("sky"), CONFIGURATIONS["forking"])


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_the_others_are_written_without_it_and_once_more_with_it(
    sky: Sky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    project = sky.project(tmp_path / "project")
    for place in range(len(sky.epochs)):
        sky.deliver(project.folder / "incoming", place, WHOLE)
    unfit = sky.epochs[number]
    others = [epoch for epoch in sky.epochs if epoch != unfit]

    def refuse(epoch: str, *arguments: Any, **named: Any) -> Content:
        if epoch == unfit:
            raise QualityError(f"epoch {epoch!r} is not published")
        return make(epoch, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(catalog_matches, "make", refuse)
        report = project.run()
    assert report.failed["epoch"].tolist() == [unfit], told(report)
    rows = project.rows()
    assert rows["epochs"]["epoch"].tolist() == others
    store = project.project.store
    copied = [store.read("associated_sources", epoch, "associations") for epoch in others]
    assert any((table["epoch"] == unfit).any() for table in copied), "nobody copied its rows"
    assert unfit not in set(rows["associations"]["epoch"])

    store.forget_failure("catalog_matches", unfit)
    report = project.run()
    assert report.complete, told(report)
    assert_same_rows(project.rows(), sky.from_scratch((WHOLE,) * len(sky.epochs)), without={"source_aliases"})
    assert project.run().run_ids == []
