"""Fixtures that several files of this folder use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from contimg_assets_tests.object_store import Bucket, serving


@pytest.fixture(scope="module")
def bucket_of_all() -> Iterator[Bucket]:
    """One server for all tests of a file."""
    with serving("survey") as (bucket, _):
        yield bucket


@pytest.fixture
def bucket(bucket_of_all: Bucket) -> Bucket:
    """An empty bucket."""
    for name in bucket_of_all.system.find(bucket_of_all.url):
        bucket_of_all.remove(name.partition("/")[2])
    return bucket_of_all
