"""Data in any order, replaced, deleted, with runs killed in between: always exactly what a run from scratch gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contimg_assets.association.several_bands import fold_bands
from contimg_assets.config import Association, Config
from contimg_assets.errors import StoreError
from contimg_assets.identity.ids import measurement_ids
from contimg_assets.identity.versions import combine_versions, version_of_table
from contimg_assets.orchestration.assets import associated_sources
from contimg_assets.pipeline.chain import Work, fold
from contimg_assets.pipeline.inputs import World
from contimg_assets.pipeline.outcomes import Content, Made
from contimg_assets.pipeline.records import EpochRecord, Failure, StoredTable
from contimg_assets.pipeline.sky_parts import Part
from contimg_assets.pipeline.stages import ASSOCIATED_SOURCES
from contimg_assets.pipeline.stages import STAGE as STAGES_BY_NAME
from contimg_assets.pipeline.staleness import State, assess
from contimg_assets.schemas import TableSchema
from contimg_assets.schemas.association import ALIGNMENT, ASSOCIATIONS, MERGES, RELATIONS, STATE
from contimg_assets.schemas.parts import parts_of
from contimg_assets.sky.sphere import displaced

METHODS = ["basic", "advanced", "deruiter", "optimal"]
STAGE = ASSOCIATED_SOURCES
IMAGES = pd.DataFrame({"image": ["left", "right"], "ra_deg": 0.0, "dec_deg": 30.0, "radius_deg": 0.05})
IMAGES = IMAGES.assign(bmaj_arcsec=20.0)
ONE_BAND, TWO_BANDS = (IMAGES.assign(freq_mhz=freq) for freq in ([1405.0, 1405.0], [888.0, 1367.0]))


CODE = {name: STAGES_BY_NAME[name].code_version(Config()) for name in STAGE.reads}


class Quiet:
    """A log that nobody reads."""

    def error(self, msg: str, *, exc_info: BaseException | None = None) -> None: ...


@dataclass
class MemoryParts:
    """Parts of the sources after an epoch, as they would be on disk."""

    schema: TableSchema
    tables: dict[tuple[int, str], pa.Table] = field(default_factory=dict)

    def read(self, cell: int, part: Part) -> pa.Table:
        return self.tables[cell, part.version]

    def write(self, cell: int, table: pa.Table) -> Part:
        part = Part(version_of_table(table), table.num_rows)
        self.tables[cell, part.version] = table
        return part


@dataclass
class MemoryStore:
    """Measurements as they are now, and what was stored of each epoch: tables as they would be on disk.

    It is what `chain.fold` and `assess` ask of the store, and the two upstream stages, in one.
    """

    current: dict[str, pd.DataFrame] = field(default_factory=dict)
    committed: dict[str, EpochRecord] = field(default_factory=dict)
    files: dict[str, pa.Table] = field(default_factory=dict)
    failed: dict[str, Failure] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)
    versions: dict[int, tuple[str, pd.DataFrame]] = field(default_factory=dict)
    images: pd.DataFrame = field(default_factory=lambda: ONE_BAND)
    parts: MemoryParts = field(default_factory=lambda: MemoryParts(STATE))

    def part_files(self, stage: str, schema: TableSchema) -> MemoryParts:
        assert (stage, schema) == (STAGE.name, STATE)
        return self.parts

    def at_a_glance(self) -> MemoryStore:
        return self

    def epochs(self, stage: str) -> list[str]:
        return sorted(self.committed if stage == STAGE.name else self.current)

    def deleted_epochs(self) -> list[str]:
        return []

    def is_deleted(self, epoch: str) -> bool:
        return False

    def damage(self, stage: str, epoch: str) -> str | None:
        return None

    def record(self, stage: str, epoch: str) -> EpochRecord | None:
        if stage == STAGE.name:
            return self.committed.get(epoch)
        if epoch not in self.current or stage not in CODE:
            return None
        version = self.delivered(epoch)
        read = {"incoming" if stage == "raw_detections" else "raw_detections": version}
        facts = {"mjd_first": float(epoch[1:].ljust(3, "0"))}
        return EpochRecord(stage, epoch, version, CODE[stage], read, {}, facts)

    def delivered(self, epoch: str) -> str:
        """Version of an epoch's rows, whatever their order."""
        rows = self.current[epoch]
        if id(rows) not in self.versions:
            table = pa.Table.from_pandas(rows.sort_values("measurement_id"), preserve_index=False)
            self.versions[id(rows)] = (version_of_table(table), rows)
        return self.versions[id(rows)][0]

    def stage(self, stage: str, epoch: str, tables: Mapping[str, Any], **about: Any) -> EpochRecord:
        stored = {}
        for schema in STAGE.tables:
            if isinstance(tables[schema.name], StoredTable):
                stored[schema.name] = tables[schema.name]
                continue
            arrow = schema.to_arrow(tables[schema.name])
            file = f"{schema.name}-{version_of_table(arrow)}"
            self.files[file] = arrow
            stored[schema.name] = StoredTable(file, arrow.num_rows, version_of_table(arrow))
        version = combine_versions(*(one.version for name, one in stored.items() if name not in about["hidden"]))
        return EpochRecord(stage, epoch, version, about["code_version"], dict(about["inputs"]), stored, about["facts"])

    def commit(self, record: EpochRecord) -> None:
        self.committed[record.epoch] = record
        self.failed.pop(record.epoch, None)

    def read_recorded(self, record: EpochRecord, table: str) -> pa.Table:
        return self.files[record.tables[table].file]

    def failure(self, stage: str, epoch: str) -> Failure | None:
        return self.failed.get(epoch) if stage == STAGE.name else None

    def fail(self, failure: Failure, tables: Mapping[str, Any]) -> None:
        self.failed[failure.epoch] = failure

    def read(self, epoch: str, table: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Of the upstream stages."""
        if table == "images":
            return self.images.assign(ra_deg=self.current[epoch].attrs["ra_deg"])
        self.reads.append(epoch)
        if self.current[epoch].attrs.get("bad"):
            raise OSError(f"{epoch} cannot be read")
        return self.current[epoch].assign(duplicate_of=None, snr=10.0)[list(columns or [])]

    def world(self, parameters: Association) -> World:
        config = Config(association=parameters)
        return World(config, self, self.delivered, {})  # type: ignore[arg-type]

    def bring_up_to_date(
        self,
        parameters: Association,
        stop_after: int | None = None,
        asked: Sequence[str] | None = None,
        forced: bool = False,
    ) -> list[str]:
        """Epochs folded. A stop is a killed process: the result being made is lost, what was stored stays."""
        self.committed = {epoch: record for epoch, record in self.committed.items() if epoch in self.current}
        self.failed = {epoch: failure for epoch, failure in self.failed.items() if epoch in self.current}
        world = self.world(parameters)
        work = Work(STAGE, world, sorted(self.current) if asked is None else asked, Quiet(), forced=forced)
        step = associated_sources.Association(self, self, self, world.config)  # type: ignore[arg-type]
        folded: list[str] = []
        for outcome in fold(work, step):
            if not isinstance(outcome, Made) or outcome.record == self.committed.get(outcome.record.epoch):
                continue
            if stop_after is not None and len(folded) == stop_after:
                break
            self.commit(outcome.record)
            folded.append(outcome.record.epoch)
        return folded

    def tables(self) -> dict[str, dict[str, pa.Table]]:
        """What is stored, as tables."""
        names = [schema.name for schema in (ASSOCIATIONS, RELATIONS, MERGES, ALIGNMENT, parts_of(STATE))]
        return {e: {name: self.read_recorded(r, name) for name in names} for e, r in self.committed.items()}


def survey_epoch(epoch: str, seed: int, version: int = 0, ra_deg: float = 0.0) -> pd.DataFrame:
    """Measurements of one epoch of a crowded little sky over RA 0; another version has other rows and positions."""
    sky = np.random.default_rng(seed)
    n = 14
    east, north = sky.uniform(-60, 60, (2, n))
    east[n // 2 :], north[n // 2 :] = east[: n // 2] + sky.uniform(-8, 8, n // 2), north[: n // 2] + 5.0
    rng = np.random.default_rng([seed, int(epoch[1:]), version])
    seen = np.flatnonzero(rng.random(n) < rng.choice([0.0, 0.7, 0.9], p=[0.1, 0.3, 0.6]))
    ra, dec = displaced(np.zeros(n), np.full(n, 30.0), east, north)
    ra, dec = displaced(ra, dec, *rng.normal(0, 1.5, (2, n)))
    image = np.where(east < 0, "left", "right")[seen]
    found = pd.DataFrame(
        {
            "measurement_id": measurement_ids(epoch, pd.Series(image), pd.Series(seen.astype(str))),
            "epoch": pd.Series([epoch] * len(seen), dtype="str"),
            "image": pd.Series(image, dtype="str"),
            "ra_deg": (ra[seen] + ra_deg) % 360.0,
            "dec_deg": dec[seen],
            "uncertainty_ew_arcsec": 1.5,
            "uncertainty_ns_arcsec": 1.4,
            "flux_peak_mjy_beam": np.where(rng.random(len(seen)) < 0.9, rng.lognormal(1.0, 0.5, len(seen)), np.nan),
        }
    )
    found.attrs["ra_deg"] = ra_deg
    return found


def from_scratch(
    current: dict[str, pd.DataFrame], parameters: Association, images: pd.DataFrame = ONE_BAND
) -> MemoryStore:
    store = MemoryStore(dict(current), images=images)
    assert store.bring_up_to_date(parameters) == sorted(current)
    return store


def assert_same(got: MemoryStore, expected: MemoryStore) -> None:
    """Records and tables are equal, and the states part by part."""
    assert got.committed.keys() == expected.committed.keys()
    for epoch, record in expected.committed.items():
        assert got.committed[epoch].data_version == record.data_version, epoch
        assert got.committed[epoch].inputs == record.inputs, epoch
        assert got.committed[epoch].facts["state_after"] == record.facts["state_after"], epoch
    mine = got.tables()
    for epoch, tables in expected.tables().items():
        for name in ("associations", "relations", "alignment", "state_parts"):
            assert mine[epoch][name].equals(tables[name]), (epoch, name)


def judged(store: MemoryStore, parameters: Association) -> dict[str, State]:
    """What `assess` says of the fold of each epoch."""
    found = assess(store.world(parameters))
    found = found[found["stage"] == STAGE.name]
    return dict(zip(found["epoch"], found["state"], strict=True))


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "delete", "shuffle"]),
        st.integers(0, 6),  # epoch
        st.integers(0, 2),  # version of its content
        st.one_of(st.none(), st.integers(0, 3)),  # the run after it is killed after so many epochs
    ),
    min_size=1,
    max_size=14,
)


# The order of rows must not show, whichever band found them.
@pytest.mark.slow
@example(actions=[("put", 2, 1, None), ("shuffle", 2, 0, None)], seed=318, method="basic", images=TWO_BANDS, n_fields=1)
@settings(max_examples=40, deadline=None)
@given(
    actions=ACTIONS,
    seed=st.integers(0, 1000),
    method=st.sampled_from(METHODS),
    images=st.sampled_from([ONE_BAND, TWO_BANDS]),
    n_fields=st.sampled_from([1, 3]),
)
def test_any_history_of_arrivals_ends_in_the_run_from_scratch(
    actions: list, seed: int, method: str, images: pd.DataFrame, n_fields: int
) -> None:
    parameters = Association(method=method, radius_arcsec=8.0, align_images="always", alignment_min_pairs=3)
    store = MemoryStore(images=images)
    for action, number, version, stop_after in actions:
        epoch = f"e{number}"
        if action == "delete":
            store.current.pop(epoch, None)
        elif action == "shuffle" and epoch in store.current:
            store.current[epoch] = store.current[epoch].sample(frac=1.0, random_state=version)
        else:
            # Far apart; another version of an epoch may be of another field.
            field_deg = 100.0 * ((number + version // 2) % n_fields)
            store.current[epoch] = survey_epoch(epoch, seed, version, field_deg)
        store.bring_up_to_date(parameters, stop_after)
    store.bring_up_to_date(parameters)
    assert_same(store, from_scratch(store.current, parameters, images))
    assert store.bring_up_to_date(parameters) == []
    assert set(judged(store, parameters).values()) <= {State.FRESH}


def _survey(n_epochs: int = 6, seed: int = 1) -> MemoryStore:
    store = MemoryStore({f"e{k}": survey_epoch(f"e{k}", seed) for k in range(n_epochs)})
    store.bring_up_to_date(Association())
    store.reads.clear()
    return store


def test_nothing_changed_folds_and_reads_nothing() -> None:
    store = _survey()
    assert store.bring_up_to_date(Association()) == []
    assert store.reads == []


def test_rows_in_another_order_fold_nothing() -> None:
    store = _survey()
    store.current["e2"] = store.current["e2"].iloc[::-1]
    assert store.bring_up_to_date(Association()) == []


def test_a_new_last_epoch_folds_only_itself() -> None:
    store = _survey()
    store.current["e6"] = survey_epoch("e6", 1)
    assert store.bring_up_to_date(Association()) == ["e6"]


def test_a_late_epoch_folds_itself_and_all_after_it() -> None:
    store = _survey()
    late = store.current.pop("e3")
    store.bring_up_to_date(Association())
    store.current["e3"] = late
    assert store.bring_up_to_date(Association()) == ["e3", "e4", "e5"]


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Epochs that are associated, not taken over, from now on."""
    names: list[str] = []

    def told(state: Any, kept: pd.DataFrame, *arguments: Any) -> Any:
        names.extend(kept["epoch"].unique())
        return fold_bands(state, kept, *arguments)

    monkeypatch.setattr(associated_sources, "fold_bands", told)
    return names


@pytest.mark.parametrize("method", METHODS)
def test_a_late_epoch_solves_none_that_sees_another_part_of_the_sky(method: str, solved: list[str]) -> None:
    parameters = Association(method=method)
    names = [f"e{k}" for k in range(6)]
    store = MemoryStore({name: survey_epoch(name, 5, 0, 100.0 * (k % 3)) for k, name in enumerate(names)})
    assert all(len(each) > 10 for each in store.current.values())
    late = store.current.pop("e1")
    store.bring_up_to_date(parameters)
    before = dict(store.committed)
    solved.clear()
    store.current["e1"] = late
    # All later ones have another state before them, and only that of the same field has another one where it looks.
    assert store.bring_up_to_date(parameters) == ["e1", "e2", "e3", "e4", "e5"]
    assert solved == ["e1", "e4"]
    whole = from_scratch(store.current, parameters)
    assert_same(store, whole)
    for name, record in whole.committed.items():
        assert store.committed[name].facts == record.facts
        assert store.committed[name].failed_checks == record.failed_checks
    assert all(store.committed[name].data_version == before[name].data_version for name in ("e2", "e3", "e5"))
    assert store.bring_up_to_date(parameters) == []
    # So it is where an epoch goes; the one after it has nothing to compare with, for its record is gone.
    solved.clear()
    del store.current["e1"]
    store.bring_up_to_date(parameters)
    assert solved == ["e2", "e4"]
    assert_same(store, from_scratch(store.current, parameters))


def test_lists_of_parts_that_are_damaged_only_cost_work(solved: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore({f"e{k}": survey_epoch(f"e{k}", 5, 0, 100.0 * k) for k in (0, 2, 3)})
    store.bring_up_to_date(Association())
    solved.clear()
    damaged, read = store.committed["e2"].tables["state_parts"].file, MemoryStore.read_recorded

    def refuse(self: MemoryStore, record: EpochRecord, table: str) -> pa.Table:
        if record.tables[table].file == damaged:
            raise StoreError("it is not what was written")
        return read(self, record, table)

    store.current["e1"] = survey_epoch("e1", 5, 0, 100.0)
    monkeypatch.setattr(MemoryStore, "read_recorded", refuse)
    store.bring_up_to_date(Association())
    # Neither the epoch itself nor the one that was folded onto it can be compared.
    assert solved == ["e1", "e2", "e3"]
    assert_same(store, from_scratch(store.current, Association()))


def test_all_are_solved_again_where_the_code_is_another(solved: list[str]) -> None:
    store = MemoryStore({f"e{k}": survey_epoch(f"e{k}", 5, 0, 100.0 * k) for k in range(3)})
    store.bring_up_to_date(Association())
    solved.clear()
    store.bring_up_to_date(Association(completeness=0.8))
    assert solved == ["e0", "e1", "e2"]
    store.bring_up_to_date(Association(completeness=0.8), forced=True)
    assert solved == ["e0", "e1", "e2"] * 2


def test_deleting_folds_all_after_it() -> None:
    store = _survey()
    del store.current["e3"]
    assert store.bring_up_to_date(Association()) == ["e4", "e5"]
    assert_same(store, from_scratch(store.current, Association()))


def test_folding_stops_where_the_state_is_equal_again() -> None:
    """An epoch without a row leaves the state as it is: inserting or deleting it changes nothing after it."""
    store = _survey()
    store.current["e21"] = survey_epoch("e2", 1).iloc[:0]
    assert store.bring_up_to_date(Association()) == ["e21"]
    del store.current["e21"]
    assert store.bring_up_to_date(Association()) == []


def test_two_changes_far_apart_leave_what_is_between_alone() -> None:
    """After the first change the state is equal again; the second one is still seen."""
    store = _survey()
    store.current["e01"] = store.current["e0"].iloc[:0]
    store.current["e5"] = survey_epoch("e5", 1, version=1)
    assert store.bring_up_to_date(Association()) == ["e01", "e5"]


def test_another_parameter_folds_everything() -> None:
    store = _survey()
    other = Association(de_ruiter_radius=4.0)
    assert store.bring_up_to_date(other) == sorted(store.current)


def test_an_epoch_can_be_forced() -> None:
    store = _survey()
    store.reads.clear()
    store.bring_up_to_date(Association(), asked=["e2"], forced=True)
    assert store.reads == ["e2"]


@pytest.mark.parametrize("stop_after", range(6))
def test_a_killed_run_is_carried_on_by_the_next(stop_after: int) -> None:
    store = _survey()
    store.current["e0"] = survey_epoch("e0", 1, version=2)
    first = store.bring_up_to_date(Association(), stop_after)
    rest = store.bring_up_to_date(Association())
    assert first + rest == sorted(store.current)
    assert_same(store, from_scratch(store.current, Association()))


RUNS = st.lists(
    st.tuples(
        st.dictionaries(st.integers(0, 6), st.one_of(st.none(), st.integers(0, 2)), min_size=1, max_size=4),
        st.sets(st.integers(0, 6)),
        st.one_of(st.none(), st.integers(0, 3)),
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(runs=RUNS, seed=st.integers(0, 1000), method=st.sampled_from(["optimal", "advanced"]))
def test_what_the_driver_passes_over_is_what_the_judgment_calls_fresh(runs: list, seed: int, method: str) -> None:
    """Whatever changed and whichever epochs a run was asked for: both ask the same and get the same answers."""
    parameters = Association(method=method, radius_arcsec=8.0, align_images="always", alignment_min_pairs=3)
    store = MemoryStore()
    for changes, asked, stop_after in runs:
        for number, version in changes.items():
            if version is None:
                store.current.pop(f"e{number}", None)
            else:
                store.current[f"e{number}"] = survey_epoch(f"e{number}", seed, version)
        here = sorted(f"e{number}" for number in asked if f"e{number}" in store.current)
        store.bring_up_to_date(parameters, stop_after, here)
        if stop_after is None:
            after = judged(store, parameters)
            # Nothing that was asked for, or ever made, is left to do; only epochs that nobody asked for are missing.
            missing = {epoch for epoch, state in after.items() if state == State.MISSING}
            assert missing == set(store.current) - set(store.committed)
            assert {after[epoch] for epoch in store.committed} <= {State.FRESH}
            assert set(here) <= set(store.committed)
    while left := [epoch for epoch, state in judged(store, parameters).items() if state != State.FRESH]:
        assert store.bring_up_to_date(parameters, asked=left[:2])
    assert_same(store, from_scratch(store.current, parameters))


def test_an_epoch_that_fails_takes_no_part_and_is_not_tried_again_unasked() -> None:
    store = _survey()
    store.current["e2"] = survey_epoch("e2", 1, version=1)
    store.current["e2"].attrs["bad"] = True
    assert "e2" not in store.bring_up_to_date(Association(), asked=["e2"])
    without = {epoch: rows for epoch, rows in store.current.items() if epoch != "e2"}
    expected = from_scratch(without, Association())
    assert judged(store, Association())["e2"] == State.FAILED
    del store.committed["e2"]
    assert_same(store, expected)
    store.reads.clear()
    assert store.bring_up_to_date(Association(), asked=["e5"]) == []
    assert store.reads == []
    store.current["e2"].attrs["bad"] = False
    assert store.bring_up_to_date(Association(), asked=["e2"])[0] == "e2"
    assert_same(store, from_scratch(store.current, Association()))


def test_figures_are_drawn_of_the_newest_epoch_alone() -> None:
    """Each figure is kept for ever."""
    store = MemoryStore({f"e{k}": survey_epoch(f"e{k}", 1) for k in range(5)})
    work = Work(STAGE, store.world(Association()), sorted(store.current), Quiet())
    assert [epoch for epoch in work.in_order if work.is_drawn(epoch)] == ["e4"]
    fresh = {name: Content(tables, figures=lambda: {"overview": b"png"}) for name, tables in _stored(store).items()}
    maker = work.maker(lambda epoch, inputs: fresh[epoch])
    shown = {epoch: set(maker(epoch, {}, work.is_drawn(epoch)).figures) for epoch in work.in_order}
    assert shown == {"e0": set(), "e1": set(), "e2": set(), "e3": set(), "e4": {"overview"}}


def _stored(store: MemoryStore) -> dict[str, Mapping[str, pa.Table]]:
    """Tables of each epoch of a store, made first."""
    store.bring_up_to_date(Association(), asked=list(store.current))
    return {
        epoch: {name: store.read_recorded(record, name) for name in record.tables}
        for epoch, record in store.committed.items()
    }


def test_a_late_epoch_that_changes_no_source_leaves_what_later_ones_kept_as_changes_readable() -> None:
    parameters = Association(method="optimal", radius_arcsec=8.0, align_images="always", alignment_min_pairs=3)
    store = MemoryStore()
    for changes, asked in (({"e4": 0, "e2": 0}, []), ({"e5": 0, "e3": 0}, ["e2", "e4"]), ({"e4": 1}, ["e4"])):
        for epoch, version in changes.items():
            store.current[epoch] = survey_epoch(epoch, 134, version)
        store.bring_up_to_date(parameters, asked=asked)
    assert not len(store.current["e3"])
    assert store.bring_up_to_date(parameters, asked=["e3"]) == ["e3"]
    assert store.bring_up_to_date(parameters, asked=["e5"]) == ["e5"]
    assert not store.failed
    assert_same(store, from_scratch(store.current, parameters))
