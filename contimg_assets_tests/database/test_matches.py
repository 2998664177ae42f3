"""Counterparts of sources, and what people decide about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import Matching
from contimg_assets.database import EpochProducts, ProductsDatabase
from contimg_assets.database.matching import source_matching
from contimg_assets.errors import InputError, StoreError
from contimg_assets.identity.ids import source_ids
from contimg_assets_tests.database.conftest import assert_same_rows, dump
from contimg_assets_tests.database.survey import Survey, nvss


def test_matches_and_peoples_decisions(database: ProductsDatabase, survey: Survey) -> None:
    matching = source_matching([nvss(survey)], Matching())
    assert matching is not None
    database.replace_epochs(survey.epochs(), matching=matching)
    births = source_ids(survey.births())
    source, other = births[2], births[5]
    best = database.matches(source).iloc[0]
    assert (best["catalog_type"], best["catalog_source_id"], best["rank"]) == ("nvss", "N002", 1)
    assert best["probability"] > 0.9
    assert best["created_at"].startswith("2026-01-2")
    flux = database.query("SELECT nvss_flux_mjy FROM photometry WHERE source_id = :s", {"s": source}).nvss_flux_mjy
    np.testing.assert_allclose(flux, survey.flux[2])

    database.decide_match("reject", source, "nvss", "N002", "a side lobe", "somebody", matching)
    database.decide_match("accept", other, "nvss", "N009", author="somebody", matching=matching)
    database.decide_match("comment", other, "nvss", comment="look again", matching=matching)
    rejected = database.matches(source).set_index("catalog_source_id").loc["N002"]
    assert (rejected["match_quality"], rejected["manual"], rejected["comment"]) == ("rejected", True, "a side lobe")
    accepted = database.matches(other).set_index("catalog_source_id")
    assert (accepted["rank"]["N009"], accepted["match_quality"]["N009"]) == (1, "accepted")
    assert set(accepted["comment"]) == {"look again"}
    nvss_flux = database.query("SELECT nvss_flux_mjy FROM variability_stats WHERE source_id = :s", {"s": source})
    assert nvss_flux.nvss_flux_mjy.isna().all()

    # They survive whatever is written, and decisions without a matcher show with the next writing.
    before = dump(database)
    database.rebuild([])
    database.replace_epochs(survey.epochs(), matching=matching)
    assert_same_rows(dump(database, ("source_aliases",)), {k: v for k, v in before.items() if k != "source_aliases"})
    database.decide_match("accept", source, "nvss", "N002")
    assert database.matches(source).iloc[0]["match_quality"] == "rejected"
    with pytest.raises(InputError, match="is not one that sources are matched to: nvss"):
        database.decide_match("accept", source, "first", "F1")
    with pytest.raises(InputError, match="say which source"):
        database.decide_match("accept", source, "nvss")
    with pytest.raises(StoreError, match="no source"):
        database.decide_match("accept", "0" * 16, "nvss", "N001")
    n_decisions = len(database.read_table("match_overrides"))
    for action in ("accept", "reject", "withdraw", "comment"):
        with pytest.raises(InputError, match=r"'nvss' has no source 'N02'; name one of .* 'N002' at \d\.\d arcsec, 'N"):
            database.decide_match(action, source, "nvss", "N02", "typed in haste", matching=matching)
    assert len(database.read_table("match_overrides")) == n_decisions
    database.decide_match("withdraw", source, "nvss", "N002", matching=matching)
    assert len(database.read_table("match_overrides")) == n_decisions + 1
    left = database.matches(source).set_index("catalog_source_id").loc["N002"]
    assert (left["match_quality"] in "ABCD", left["manual"]) == (True, False)


def test_decisions_follow_aliases(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=12, n_epochs=2, detected=1.0)
    matching = source_matching([nvss(survey)], Matching())
    database.replace_epochs([survey.epoch(1, skip=frozenset({0}))], matching=matching)
    old = source_ids(survey.births(frozenset({0})))[4]
    database.decide_match("reject", old, "nvss", "N004", "not ours", matching=matching)
    database.replace_epochs(survey.epochs(), matching=matching)
    new = source_ids(survey.births())[4]
    assert database.present_source(old) == new != old
    assert database.find_source(old) == new
    row = database.matches(old).set_index("catalog_source_id").loc["N004"]
    assert (row["source_id"], row["match_quality"], row["comment"]) == (new, "rejected", "not ours")
    # What is said of a source without any counterpart is found with the source.
    database.decide_match("comment", new, "nvss", None, "looked at it", matching=matching)
    for name in (old, new):
        assert database.decisions(name)["comment"].tolist() == ["looked at it", "not ours"]
    assert database.decisions(source_ids(survey.births())[5]).empty


def test_rebuilding_keeps_aliases_and_decisions_and_no_reader_sees_less(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=12, n_epochs=3, detected=1.0)
    matching = source_matching([nvss(survey)], Matching())
    late = frozenset({0})
    database.replace_epochs([survey.epoch(number, skip=late) for number in (1, 2)], matching=matching)
    old = source_ids(survey.births(late))
    database.decide_match("reject", old[4], "nvss", "N004", "not ours", matching=matching)
    database.replace_epochs(survey.epochs(), matching=matching)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM variability")  # somebody's slip: rows of equal epochs are made again
    seen = []

    def epochs() -> Iterator[EpochProducts]:
        for products in survey.epochs()[:2]:
            seen.append(len(database.query("SELECT * FROM light_curves WHERE NOT is_limit")))
            yield products

    report = database.rebuild(epochs(), matching=matching)
    assert seen == [36, 36]
    assert (report.written, report.deleted) == (survey.names[:2], survey.names[2:])
    assert len(database.read_table("variability")) == 12
    for _ in range(2):
        aliases = database.read_table("source_aliases").set_index("alias")["source_id"]
        assert aliases[old].tolist() == source_ids(survey.births()).tolist()
        row = database.matches(old[4]).set_index("catalog_source_id").loc["N004"]
        assert (row["match_quality"], row["comment"]) == ("rejected", "not ours")
        # Nothing is left, and everything comes back: so do the names that sources had.
        database.rebuild([])
        assert database.read_table("source_aliases")["source_id"].isna().all()
        database.replace_epochs(survey.epochs(), matching=matching)


def test_another_catalogue_version_matches_again(database: ProductsDatabase, survey: Survey) -> None:
    catalog = nvss(survey)
    database.replace_epochs(survey.epochs(), matching=source_matching([catalog], Matching()))
    moved = ReferenceCatalog("nvss", catalog.table.to_pandas().assign(flux_mjy=5.0), 1400.0, 45.0, "v2")
    database.replace_epochs([], matching=source_matching([moved], Matching()))
    assert set(database.read_table("cross_matches")["catalog_flux_mjy"]) == {5.0}
    assert database.read_table("reference_catalogs")["version"].tolist() == ["v2"]
    database.replace_epochs([])
    assert database.read_table("cross_matches").empty


@pytest.mark.parametrize("dec", [16.0, 89.5])
def test_only_what_lies_near_a_change_is_matched_again(database: ProductsDatabase, dec: float) -> None:
    here = Survey(n_sources=60, n_epochs=3, detected=0.7, dec=dec)
    far = Survey(n_sources=40, n_epochs=2, seed=2, dec=-50.0, prefix="far")
    listed = [nvss(here).table.to_pandas(), nvss(far).table.to_pandas()]
    listed[1]["catalog_source_id"] = "F" + listed[1]["catalog_source_id"]
    catalog = ReferenceCatalog("nvss", pd.concat(listed).drop(columns="healpix_29"), 1400.0, 45.0, "v1")
    matching = source_matching([catalog], Matching(min_q_measurements=10))
    assert matching is not None
    asked: list[set[str]] = []

    def match(sources: pd.DataFrame, accepted: pd.DataFrame) -> pd.DataFrame:
        asked.append(set(sources["source_id"]))
        return matching.match(sources, accepted)

    noted = replace(matching, match=match)
    database.replace_epochs([*here.epochs()[:2], *far.epochs()], matching=noted)
    ours, theirs = (set(database.query(f"SELECT id FROM sources WHERE dec_deg {s} 0").id) for s in "><")
    assert asked == [ours | theirs]
    before = database.query("SELECT * FROM cross_matches WHERE catalog_source_id LIKE 'F%' ORDER BY id")
    database.replace_epochs([here.epoch(2)], matching=noted)
    ours = set(database.query("SELECT id FROM sources WHERE dec_deg > 0").id)
    assert asked[1:] == [ours]
    pd.testing.assert_frame_equal(
        before, database.query("SELECT * FROM cross_matches WHERE catalog_source_id LIKE 'F%' ORDER BY id")
    )
    # A decision without a matcher shows with the next writing, wherever that is; one with it, at once.
    one, other = sorted(theirs)[:2]
    name = database.matches(one).iloc[0]["catalog_source_id"]
    database.decide_match("reject", one, "nvss", name)
    assert database.matches(one).iloc[0]["match_quality"] != "rejected"
    database.replace_epochs([here.epoch(2, flux_factor=1.1, version="2")], matching=noted)
    assert ours | {one} <= asked[2] <= ours | theirs
    assert database.matches(one).iloc[-1]["match_quality"] == "rejected"
    database.decide_match("comment", other, "nvss", comment="look again", matching=noted)
    assert other in asked[3] and asked[3] <= theirs
    assert set(database.matches(other)["comment"]) == {"look again"}
    # Nothing is said, and nothing changes: nothing is matched.
    database.replace_epochs([here.epoch(2, flux_factor=1.1, version="2")], matching=noted)
    assert len(asked) == 4
    database.replace_epochs([], delete=[far.names[0]], matching=noted)
    assert asked[4] <= theirs
    after = dump(database, ("source_aliases", "recomputed_with"))
    database.rebuild([*here.epochs()[:2], here.epoch(2, flux_factor=1.1, version="2"), far.epoch(1)], matching=noted)
    assert_same_rows(dump(database, ("source_aliases", "recomputed_with")), after)
