"""Lists of sources, on both engines: flags, texts, missing values last, parts of a list."""

from __future__ import annotations

from contimg_assets.database import ProductsDatabase
from contimg_assets.database.source_list import SourceQuery, list_sources

COLUMNS = ["name", "id", "eta_peak", "is_new", "first_epoch"]


def test_lists_are_what_the_tables_say(filled_database: ProductsDatabase) -> None:
    sources = filled_database.read_table("sources")
    statistics = filled_database.read_table("variability").set_index("source_id")["eta_peak"]
    eta = sources["id"].map(statistics)
    for flag in (True, False):
        found = list_sources(filled_database, SourceQuery(f"is_new = {str(flag).lower()}", limit=1000), COLUMNS)
        assert sorted(found.rows["id"]) == sorted(sources.loc[sources["is_new"] == flag, "id"])
        assert found.total == (sources["is_new"] == flag).sum()
    epoch = sources["first_epoch"].iloc[0]
    found = list_sources(filled_database, SourceQuery(f"first_epoch = {epoch}, name ~ J, n_limits < 3"), COLUMNS)
    assert found.total == ((sources["first_epoch"] == epoch) & (sources["n_limits"] < 3)).sum()
    for sort, ascending in (("eta_peak", True), ("-eta_peak", False)):
        found = list_sources(filled_database, SourceQuery(sort=sort, offset=2, limit=1000), COLUMNS)
        right = eta.sort_values(ascending=ascending, na_position="last")[2:]
        assert found.rows["eta_peak"].round(9).tolist()[:20] == right.round(9).tolist()[:20]
        assert found.total == len(sources)
    near = filled_database.cone(0.0, 16.0, 2000.0)
    found = list_sources(filled_database, SourceQuery("eta_peak >= 0", cone=(0.0, 16.0, 2000.0)), COLUMNS)
    assert set(found.rows["id"]) == set(near["id"]) & set(statistics.dropna().index)
