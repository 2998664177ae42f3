"""Epochs of which only what lies near a change is decided again: rows, facts and states of a survey from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from contimg_assets.association import near_changes
from contimg_assets.association.near_changes import FoldedAgain, fold_near_changes
from contimg_assets.config import Association
from contimg_assets.errors import StoreError
from contimg_assets.identity.ids import measurement_ids
from contimg_assets.orchestration.assets import associated_sources
from contimg_assets.pipeline.records import StoredTable
from contimg_assets.sky.sphere import displaced
from contimg_assets_tests.pipeline.test_chain import MemoryStore, assert_same

# Beams of 20 arcsec, and enough pairs in each image for a shift of its own.
PARAMETERS = Association(alignment_min_pairs=5)
# A corner of four parts of the sky, RA 0 on the equator, a pole, and a place beside a part's edge.
PLACES = [(45.0, 41.8103149), (0.0, 0.0), (123.0, 89.0), (210.0, -30.0)]
# Images 1.6 deg apart, so that neighbors lie in each other's reach, but not those after them.
N_IMAGES, APART_ARCSEC = 4, 5760.0


@dataclass
class WideStore(MemoryStore):
    """Epochs that each have images of their own, and measurements that repeat others."""

    @property
    def of_epoch(self) -> dict[str, pd.DataFrame]:
        return {epoch: pd.DataFrame(rows.attrs["images"]) for epoch, rows in self.current.items()}

    def read(self, epoch: str, table: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        if table == "images":
            return self.of_epoch[epoch]
        return self.current[epoch].assign(snr=10.0)[list(columns or [])]


@dataclass(frozen=True)
class Sky:
    """Sources of a few fields in a row: doubles, and a chain of sources from beside the first field into the third."""

    ra: float
    dec: float
    seed: int
    n: int = 40
    chain: bool = False
    east: np.ndarray = field(init=False)
    north: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        east = rng.uniform(-900, 900, (N_IMAGES, self.n)) + APART_ARCSEC * np.arange(N_IMAGES)[:, None]
        north = rng.uniform(-900, 900, (N_IMAGES, self.n))
        half = self.n // 2
        # Some are doubles that the finder tells apart at times.
        east[:, half : half + 10] = east[:, :10] + rng.uniform(-9, 9, (N_IMAGES, 10))
        north[:, half : half + 10] = north[:, :10] + rng.uniform(-9, 9, (N_IMAGES, 10))
        links = np.arange(4000.0, 10000.0, 35.0) if self.chain else np.empty(0)
        object.__setattr__(self, "east", np.concatenate([east.ravel(), links]))
        object.__setattr__(self, "north", np.concatenate([north.ravel(), np.zeros(len(links))]))

    def epoch(self, name: str, images: Sequence[int] = range(N_IMAGES), version: int = 0) -> pd.DataFrame:
        """Measurements of some images; another version has other ones of the same sources."""
        rng = np.random.default_rng([self.seed, int(name[1:]), version])
        image = np.clip(np.rint(self.east / APART_ARCSEC), 0, N_IMAGES - 1).astype(int)
        # Of a double, one is missed at times; and what is seen for the first time is anywhere.
        seen = np.flatnonzero(np.isin(image, list(images)) & (rng.random(len(image)) < 0.8))
        shift = rng.normal(0, 2.0, (2, N_IMAGES))[:, image[seen]]
        offset = shift + rng.normal(0, 0.7, (2, len(seen)))
        at = displaced(np.full(len(seen), self.ra), np.full(len(seen), self.dec), self.east[seen], self.north[seen])
        ra, dec = displaced(*at, *offset)
        names = np.array([f"i{k}" for k in range(N_IMAGES)])
        rows = pd.DataFrame(
            {
                "measurement_id": measurement_ids(name, pd.Series(names[image[seen]]), pd.Series(seen.astype(str))),
                "image": pd.Series(names[image[seen]], dtype="str"),
                "ra_deg": ra % 360.0,
                "dec_deg": dec,
                "uncertainty_ew_arcsec": 0.7,
                "uncertainty_ns_arcsec": 0.6,
                "flux_peak_mjy_beam": np.where(rng.random(len(seen)) < 0.9, rng.lognormal(1.0, 0.5, len(seen)), np.nan),
                "duplicate_of": pd.Series([None] * len(seen), dtype="str"),
            }
        )
        centers = displaced(
            np.full(N_IMAGES, self.ra), np.full(N_IMAGES, self.dec), APART_ARCSEC * np.arange(N_IMAGES), np.zeros(4)
        )
        of_epoch = pd.DataFrame(
            {"image": names, "ra_deg": centers[0] % 360.0, "dec_deg": centers[1], "radius_deg": 1.2}
        ).assign(freq_mhz=1405.0, bmin_arcsec=20.0, bmaj_arcsec=25.0)
        rows.attrs["images"] = of_epoch.iloc[list(images)].to_dict("list")
        return rows


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> list[FoldedAgain | None]:
    """What was decided again in part, from now on; None for each epoch that had to be folded as a whole."""
    found: list[FoldedAgain | None] = []

    def told(*arguments: Any) -> FoldedAgain | None:
        found.append(fold_near_changes(*arguments))
        return found[-1]

    monkeypatch.setattr(associated_sources, "fold_near_changes", told)
    return found


def assert_from_scratch(store: WideStore, parameters: Association = PARAMETERS) -> None:
    whole = WideStore(dict(store.current))
    whole.bring_up_to_date(parameters)
    assert_same(store, whole)
    for epoch, record in whole.committed.items():
        assert store.committed[epoch].facts == record.facts, epoch
        assert store.committed[epoch].failed_checks == record.failed_checks, epoch
        assert store.read_recorded(store.committed[epoch], "merges").equals(whole.read_recorded(record, "merges"))


def survey(sky: Sky, late: Sequence[str] = ()) -> WideStore:
    """Seven epochs of all images, without those that are to come."""
    names = [f"e{k}" for k in range(7)]
    store = WideStore({name: sky.epoch(name) for name in names if name not in late})
    store.bring_up_to_date(PARAMETERS)
    return store


@pytest.mark.parametrize(("ra", "dec"), PLACES)
def test_a_late_epoch_changes_what_lies_near_it(ra: float, dec: float, again: list) -> None:
    sky = Sky(ra, dec, 3)
    store = survey(sky, late=["e2"])
    again.clear()
    store.current["e2"] = sky.epoch("e2", [0])
    assert store.bring_up_to_date(PARAMETERS) == ["e2", "e3", "e4", "e5", "e6"]
    # The first image, and no more.
    assert [len(one.rows) / len(store.current[f"e{k}"]) < 0.4 for k, one in enumerate(again, 3)] == [True] * 4
    assert_from_scratch(store)


def test_a_change_goes_on_along_a_group(again: list, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_changes, "_MOST", 1.0)
    sky = Sky(45.0, 41.8103149, 3, chain=True)
    store = survey(sky, late=["e2"])
    again.clear()
    store.current["e2"] = sky.epoch("e2", [0])
    store.bring_up_to_date(PARAMETERS)
    # Where no three in a row are missed, it reaches the third image, 2 deg away.
    seen = [set(store.current[f"e{k}"]["image"].iloc[one.rows]) for k, one in enumerate(again, 3)]
    assert seen.count({"i0", "i1", "i2"}) >= 2
    assert_from_scratch(store)


@pytest.mark.parametrize("seed", range(4))
def test_rows_that_go_and_epochs_that_go(seed: int, again: list) -> None:
    sky = Sky(0.0, 0.0, seed)
    store = survey(sky)
    again.clear()
    # Of one image half of the rows are gone.
    rows = store.current["e1"]
    attrs = rows.attrs
    gone = (rows["image"] == "i3") & (np.arange(len(rows)) % 2 == 0)
    store.current["e1"] = rows[~gone].reset_index(drop=True)
    store.current["e1"].attrs = attrs
    store.bring_up_to_date(PARAMETERS)
    assert sum(one is not None for one in again) >= 4
    assert_from_scratch(store)
    # An epoch of one image comes, is delivered once more with other rows, and goes.
    for version in range(2):
        store.current["e1"] = sky.epoch("e1", [0], version)
        store.bring_up_to_date(PARAMETERS)
        assert_from_scratch(store)
    del store.current["e1"]
    store.bring_up_to_date(PARAMETERS)
    assert_from_scratch(store)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_any_order_of_epochs_that_see_some_of_the_images(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sky = Sky(*PLACES[seed % 4], seed, n=int(rng.integers(24, 60)))
    store = WideStore()
    for _ in range(14):
        name = f"e{rng.integers(7)}"
        if rng.random() < 0.2:
            store.current.pop(name, None)
        else:
            images = np.flatnonzero(rng.random(N_IMAGES) < rng.choice([0.3, 1.0]))
            store.current[name] = sky.epoch(name, images if len(images) else [0], int(rng.integers(3)))
        store.bring_up_to_date(PARAMETERS)
    assert_from_scratch(store)


def test_a_change_that_no_measurement_is_near_changes_none(again: list) -> None:
    sky = Sky(10.0, 20.0, 5)
    names = [f"e{k}" for k in range(5)]
    # The last image lies 3 deg from the first two, in the same part of the sky or the one beside it.
    store = WideStore({name: sky.epoch(name, [0, 1]) for name in names if name != "e1"})
    store.bring_up_to_date(PARAMETERS)
    again.clear()
    store.current["e1"] = sky.epoch("e1", [3])
    store.bring_up_to_date(PARAMETERS)
    assert again, "no epoch was near enough for the test to say anything"
    assert all(one is not None and not len(one.rows) for one in again)
    assert_from_scratch(store)


def test_what_is_not_as_it_was_stored_is_folded_as_a_whole(again: list) -> None:
    sky = Sky(45.0, 41.8, 6)
    store = survey(sky, late=["e2"])
    record = store.committed["e4"]
    stored = record.tables["associations"]
    table = store.files[stored.file]
    column = table.schema.get_field_index("separation_arcsec")
    other = table.set_column(column, table.schema.field(column), pa.array(np.full(len(table), 1.0)))
    store.files["edited"] = other
    tables = {**record.tables, "associations": StoredTable("edited", stored.rows, stored.version)}
    store.committed["e4"] = type(record)(**{**record.__dict__, "tables": tables})
    store.current["e2"] = sky.epoch("e2", [0])
    store.bring_up_to_date(PARAMETERS)
    assert_from_scratch(store)


def test_where_what_was_stored_is_gone_the_whole_epoch_is_folded(again: list) -> None:
    sky = Sky(45.0, 41.8, 7)
    store = survey(sky, late=["e2"])
    lost = store.committed["e4"].tables["associations"].file
    read = store.read_recorded

    def damaged(record: Any, table: str) -> pa.Table:
        if record.tables[table].file == lost:
            raise StoreError("it is cut off")
        return read(record, table)

    store.read_recorded = damaged  # type: ignore[method-assign]
    store.current["e2"] = sky.epoch("e2", [0])
    assert store.bring_up_to_date(PARAMETERS) == ["e2", "e3", "e4", "e5", "e6"]
    del store.read_recorded  # type: ignore[method-assign]
    assert_from_scratch(store)


@pytest.mark.parametrize("method", ["deruiter", "advanced", "basic"])
def test_other_methods_fold_the_whole_epoch(method: str, again: list) -> None:
    parameters = Association(method=method)
    sky = Sky(0.0, 0.0, 2)
    store = WideStore({f"e{k}": sky.epoch(f"e{k}") for k in range(4) if k != 1})
    store.bring_up_to_date(parameters)
    store.current["e1"] = sky.epoch("e1", [0])
    store.bring_up_to_date(parameters)
    assert again
    assert set(again) == {None}
    assert_from_scratch(store, parameters)


def test_images_that_get_their_shift_from_others_are_folded_as_a_whole(again: list) -> None:
    sky = Sky(0.0, 0.0, 4)
    store = WideStore()
    for k in range(4):
        rows = sky.epoch(f"e{k}")
        # What the second image shows, the first one shows too; there are too few pairs for shifts of their own.
        twice = rows[rows["image"] == "i1"]
        repeats = twice.assign(
            measurement_id=measurement_ids(f"e{k}r", twice["image"], twice["measurement_id"]),
            image="i0",
            duplicate_of=twice["measurement_id"],
        )
        whole = pd.concat([rows, repeats], ignore_index=True)
        whole.attrs = rows.attrs
        store.current[f"e{k}"] = whole
    parameters = Association(alignment_min_pairs=1000)
    late = store.current.pop("e1")
    store.bring_up_to_date(parameters)
    store.current["e1"] = late
    store.bring_up_to_date(parameters)
    assert set(again) == {None}
    assert_from_scratch(store, parameters)
    # Where the images have shifts of their own, repeats change nothing.
    again.clear()
    store = WideStore(dict(store.current))
    late = store.current.pop("e1")
    store.bring_up_to_date(PARAMETERS)
    late_images = late[late["image"] == "i3"].reset_index(drop=True)
    late_images.attrs = late.attrs
    store.current["e1"] = late_images
    store.bring_up_to_date(PARAMETERS)
    assert any(one is not None for one in again)
    assert_from_scratch(store, PARAMETERS)


def test_links_that_reach_far_leave_it_to_the_whole(monkeypatch: pytest.MonkeyPatch, again: list) -> None:
    sky = Sky(0.0, 0.0, 3)
    store = survey(sky, late=["e2"])
    monkeypatch.setattr(near_changes, "_WIDEST_ARCSEC", 1.0)
    again.clear()
    store.current["e2"] = sky.epoch("e2", [0])
    store.bring_up_to_date(PARAMETERS)
    assert set(again) == {None}
    assert_from_scratch(store)
