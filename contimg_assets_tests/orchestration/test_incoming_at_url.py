"""Deliveries at URLs: the same rows as from a folder, whatever happens to their server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from contimg_assets_tests.object_store import Bucket, serving
from contimg_assets_tests.projects import TestProject, assert_same_rows

# Times of making, and what a delivery is called by.
OF_THE_RUN = ()


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with serving("telescope") as (bucket, _):
        yield bucket


@pytest.fixture
def remote(project: TestProject, bucket: Bucket) -> TestProject:
    """A project whose epochs are delivered at a bucket, where all of them are."""
    bucket.put(project.survey / "incoming", "incoming")
    shutil.rmtree(project.folder / "incoming")
    project.configure(paths={"incoming": f"{bucket.url}/incoming"})
    return project


def test_rows_are_those_of_a_folder(remote: TestProject, made: TestProject) -> None:
    assert remote.run().complete
    assert_same_rows(remote.rows(), made.rows())
    assert not (remote.folder / "incoming").exists()
