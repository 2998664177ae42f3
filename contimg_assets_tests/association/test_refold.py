"""Data in any order, replaced, deleted, with runs killed in between: always exactly what a run from scratch gives."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contimg_assets.association import FoldState, copy_fork_history
from contimg_assets.association.fold import FoldResult
from contimg_assets.association.refold import Link, Refolded, refold, rule_version
from contimg_assets.config import Association
from contimg_assets.identity.ids import measurement_ids
from contimg_assets.identity.versions import version_of_table
from contimg_assets.schemas.association import ALIGNMENT, ASSOCIATIONS, FORKS, RELATIONS, STATE
from contimg_assets.sky.sphere import displaced

METHODS = ["basic", "advanced", "deruiter", "optimal"]


@dataclass
class MemoryStore:
    """Measurements as they are now, and what was stored of each epoch: tables as they would be on disk."""

    current: dict[str, pd.DataFrame] = field(default_factory=dict)
    stored: dict[str, dict] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)

    def link(self, epoch: str) -> Link | None:
        return self.stored[epoch]["link"] if epoch in self.stored else None

    def state(self, epoch: str) -> FoldState:
        return FoldState.from_table(self.stored[epoch]["state"])

    def measurements_version(self, epoch: str) -> str:
        rows = self.current[epoch].sort_values("measurement_id")
        return version_of_table(pa.Table.from_pandas(rows, preserve_index=False))

    def measurements(self, epoch: str) -> pd.DataFrame:
        self.reads.append(epoch)
        return self.current[epoch]

    def images(self, epoch: str) -> None:
        return None

    def put(self, made: Refolded, epochs: list[str]) -> None:
        """As the asset does: histories that forks copy come from the earlier epochs' stored rows."""
        result: FoldResult = made.result
        associations = result.associations
        if result.forks["copies_history"].any():
            earlier = [self.stored[e]["associations"].to_pandas() for e in epochs[: epochs.index(made.epoch)]]
            associations = pd.concat([associations, copy_fork_history(pd.concat(earlier), result.forks)])
        self.stored[made.epoch] = {
            "link": made.link,
            "associations": ASSOCIATIONS.to_arrow(associations.reset_index(drop=True)),
            "relations": RELATIONS.to_arrow(result.relations),
            "forks": FORKS.to_arrow(result.forks),
            "alignment": ALIGNMENT.to_arrow(result.alignment),
            "state": STATE.to_arrow(result.state.to_table()),
        }

    def bring_up_to_date(self, parameters: Association, stop_after: int | None = None) -> list[str]:
        """Epochs folded. A stop is a killed process: the result being made is lost, what was stored stays."""
        epochs = sorted(self.current)
        self.stored = {epoch: tables for epoch, tables in self.stored.items() if epoch in self.current}
        folded = []
        for made in refold(self, epochs, parameters):
            if stop_after is not None and len(folded) == stop_after:
                break
            self.put(made, epochs)
            folded.append(made.epoch)
        return folded


def survey_epoch(epoch: str, seed: int, version: int = 0) -> pd.DataFrame:
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
    return pd.DataFrame(
        {
            "measurement_id": measurement_ids(epoch, pd.Series(image), pd.Series(seen.astype(str))),
            "epoch": pd.Series([epoch] * len(seen), dtype="str"),
            "image": pd.Series(image, dtype="str"),
            "ra_deg": ra[seen],
            "dec_deg": dec[seen],
            "uncertainty_ew_arcsec": 1.5,
            "uncertainty_ns_arcsec": 1.4,
            "flux_peak_mjy_beam": np.where(rng.random(len(seen)) < 0.9, rng.lognormal(1.0, 0.5, len(seen)), np.nan),
        }
    )


def from_scratch(current: dict[str, pd.DataFrame], parameters: Association) -> dict[str, dict]:
    store = MemoryStore(dict(current))
    assert store.bring_up_to_date(parameters) == sorted(current)
    return store.stored


def assert_same(got: dict[str, dict], expected: dict[str, dict]) -> None:
    assert got.keys() == expected.keys()
    for epoch, tables in expected.items():
        assert got[epoch]["link"] == tables["link"]
        for name in ("state", "associations", "relations", "forks", "alignment"):
            assert got[epoch][name].equals(tables[name]), (epoch, name)
            assert version_of_table(got[epoch][name]) == version_of_table(tables[name])


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


@settings(max_examples=40, deadline=None)
@given(actions=ACTIONS, seed=st.integers(0, 1000), method=st.sampled_from(METHODS))
def test_any_history_of_arrivals_ends_in_the_run_from_scratch(actions: list, seed: int, method: str) -> None:
    parameters = Association(method=method, radius_arcsec=8.0, align_images="always", alignment_min_pairs=3)
    store = MemoryStore()
    for action, number, version, stop_after in actions:
        epoch = f"e{number}"
        if action == "delete":
            store.current.pop(epoch, None)
        elif action == "shuffle" and epoch in store.current:
            store.current[epoch] = store.current[epoch].sample(frac=1.0, random_state=version)
        else:
            store.current[epoch] = survey_epoch(epoch, seed, version)
        store.bring_up_to_date(parameters, stop_after)
    store.bring_up_to_date(parameters)
    assert_same(store.stored, from_scratch(store.current, parameters))
    assert store.bring_up_to_date(parameters) == []


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


def test_deleting_folds_all_after_it() -> None:
    store = _survey()
    del store.current["e3"]
    assert store.bring_up_to_date(Association()) == ["e4", "e5"]
    assert_same(store.stored, from_scratch(store.current, Association()))


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
    assert rule_version(other) != rule_version(Association())
    assert store.bring_up_to_date(other) == sorted(store.current)


def test_an_epoch_can_be_forced() -> None:
    store = _survey()
    assert [made.epoch for made in refold(store, sorted(store.current), Association(), changed={"e2"})] == ["e2"]


@pytest.mark.parametrize("stop_after", range(6))
def test_a_killed_run_is_carried_on_by_the_next(stop_after: int) -> None:
    store = _survey()
    store.current["e0"] = survey_epoch("e0", 1, version=2)
    first = store.bring_up_to_date(Association(), stop_after)
    rest = store.bring_up_to_date(Association())
    assert first + rest == sorted(store.current)
    assert_same(store.stored, from_scratch(store.current, Association()))
