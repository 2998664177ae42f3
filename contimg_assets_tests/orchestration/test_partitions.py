"""Epochs as partitions: names, order, ranges."""

import itertools
import sqlite3
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from contimg_assets.errors import InputError
from contimg_assets.identity.epochs import check_epoch_key, contiguous_ranges
from contimg_assets.orchestration.partitions import EPOCH_PARTITIONS, register_epochs, registered_epochs

NAMES = st.lists(st.sampled_from("abcdefghij"), unique=True)


@pytest.mark.parametrize("good", ["2026-01-25T2200", "epoch54", "a.b_c:d+e", "0"])
def test_names_that_can_be_epochs(good: str) -> None:
    assert check_epoch_key(good) == good


@pytest.mark.parametrize("bad", ["", ".", "..", ".hidden", "a/b", "a,b", "a|b", "a b", "é", "x" * 101, "a\n"])
def test_names_that_cannot(bad: str) -> None:
    with pytest.raises(InputError, match="rename it"):
        check_epoch_key(bad)


@pytest.mark.slow
@given(st.lists(NAMES, min_size=1, max_size=4))
def test_partitions_are_always_in_the_order_last_given(orders: list[list[str]]) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        known: set[str] = set()
        for order in orders:
            added = register_epochs(instance, order)
            assert list(instance.get_dynamic_partitions("epoch")) == order
            assert set(added) == set(order) - known
            known = set(order)


@given(NAMES, st.sets(st.sampled_from("abcdefghij")))
def test_ranges_hold_each_epoch_once_and_have_no_gap(order: list[str], chosen: set[str]) -> None:
    ranges = contiguous_ranges(sorted(chosen), order)
    assert [epoch for one in ranges for epoch in one] == [epoch for epoch in order if epoch in chosen]
    for one in ranges:
        first = order.index(one[0])
        assert order[first : first + len(one)] == one
    for before, after in itertools.pairwise(ranges):
        assert order.index(after[0]) - order.index(before[-1]) > 1


def test_a_run_at_work_misses_no_epoch_of_its_own() -> None:
    """To put a late epoch where it belongs, those after it are taken out for a moment; what runs would fail for it."""

    @dg.job
    def work() -> None:
        pass

    with dg.DagsterInstance.ephemeral() as instance:
        register_epochs(instance, ["b", "c"])
        run = instance.create_run_for_job(work, status=dg.DagsterRunStatus.STARTED)
        assert register_epochs(instance, ["a", "c"]) == ["a"]
        assert registered_epochs(instance) == ["b", "c", "a"]
        instance.report_run_failed(run)
        assert register_epochs(instance, ["a", "c"]) == []
        assert registered_epochs(instance) == ["a", "c"]


def test_an_epoch_that_two_processes_register_at_once_is_there_once(tmp_path: Path) -> None:
    """Dagster asks which epochs there are, and writes the others: in between somebody else may have written them."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        register_epochs(instance, ["a"])
        (file,) = tmp_path.rglob("index.db")
        others = ["b", "c"]

        def before(*statement: object) -> None:
            if others and "INSERT INTO dynamic_partitions" in str(statement[2]):
                with closing(sqlite3.connect(file, timeout=1)) as connection, connection:
                    row = (EPOCH_PARTITIONS, others.pop(0))
                    connection.execute(
                        "INSERT INTO dynamic_partitions (partitions_def_name, partition) VALUES (?, ?)", row
                    )

        sa.event.listen(sa.engine.Engine, "before_cursor_execute", before)
        try:
            register_epochs(instance, ["a", "b", "c", "d"])
        finally:
            sa.event.remove(sa.engine.Engine, "before_cursor_execute", before)
        assert not others
        assert registered_epochs(instance) == ["a", "b", "c", "d"]
