"""Upper limits as lines of texts: what is written is read back, by the views too, wherever on the sky a source is."""

from __future__ import annotations

from collections.abc import Iterable

import astropy.units as u
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contimg_assets.database import ProductsDatabase
from contimg_assets.database.engine import reading
from contimg_assets.database.limits import LINE_LENGTH, ORDER, lines_of, read_limits, read_lines
from contimg_assets.identity.ids import to_hex
from contimg_assets.sky.cells import coarser, grid, healpix_29
from contimg_assets.variability.finder import DEFAULT_THRESHOLD
from contimg_assets_tests.database.conftest import assert_same_rows, dump
from contimg_assets_tests.database.consistency import inconsistencies
from contimg_assets_tests.database.survey import Survey

_LIMITS = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.floats(1e-30, 1e30)), unique_by=lambda limit: limit[0])


@given(st.lists(_LIMITS, max_size=3))
@settings(max_examples=50, deadline=None)
def test_lines_give_back_what_they_were_made_of(texts: list[list[tuple[int, float]]]) -> None:
    made = [
        lines_of(np.array([source for source, _ in one], np.uint64), np.array([limit for _, limit in one]))
        for one in texts
    ]
    assert all(len(line) == LINE_LENGTH for lines in made for line in lines)
    found = read_lines(["".join(lines) for lines in made])
    expected = [(number, *limit) for number, one in enumerate(texts) for limit in one]
    assert found.text.tolist() == [number for number, *_ in expected]
    assert found.source_id.tolist() == [to_hex([source])[0] for _, source, _ in expected]
    np.testing.assert_allclose(found.limit_mjy_beam, [limit for *_, limit in expected], rtol=5.1e-9)


def at_a_corner(survey: Survey, n: int) -> None:
    """Put the first sources so near a corner of cells that errors of positions move their means from cell to cell."""
    cell = coarser(healpix_29([survey.centre[0]], [survey.centre[1]]), ORDER)
    lon, lat = (values.to_value(u.deg)[0] for values in grid(ORDER).boundaries_lonlat(cell, step=1))
    survey.ra[:n], survey.dec[:n] = lon[:n], lat[:n]


@pytest.mark.slow
@pytest.mark.parametrize("dec", [16.0, 89.9])
def test_a_source_keeps_its_limits_as_its_mean_moves_from_cell_to_cell(database: ProductsDatabase, dec: float) -> None:
    survey = Survey(n_sources=30, n_epochs=8, detected=0.6, dec=dec)
    at_a_corner(survey, 4)
    epochs = survey.epochs()
    database.replace_epochs(epochs)
    expected, cells = dump(database, ("source_aliases",)), set()
    assert inconsistencies(database) == {}
    assert sum(n_of(database, table) for table in ("measurements", "associations")) == 2 * survey.seen.sum()
    assert n_of(database, "image_limits") < n_of(database, "upper_limits")
    for order in (range(8), (5, 0, 7, 3, 1, 6, 2, 4)):
        database.replace_epochs([], delete=survey.names)
        assert n_of(database, "image_limits") == 0
        for number in order:
            # Ids of sources are those of the whole survey: here the fold is not what is tested.
            database.replace_epochs([epochs[number]])
            cells |= set(database.query("SELECT id, healpix >> 8 AS cell FROM sources").itertuples(index=False))
        assert_same_rows(dump(database, ("source_aliases",)), expected)
    assert len(cells) > len(expected["sources"]), "no source was in two cells"


def n_of(database: ProductsDatabase, table: str) -> int:
    return int(database.query(f"SELECT count(*) AS n FROM {table}")["n"][0])


def test_all_readers_find_the_same_limits(filled_database: ProductsDatabase, survey: Survey) -> None:
    by_view = filled_database.query("SELECT * FROM upper_limits ORDER BY source_id, epoch")
    sources = filled_database.read_table("sources")
    with reading(filled_database.engine) as connection:
        read = read_limits(connection, sources.sample(frac=1.0, random_state=1).reset_index(drop=True))
        assert read_limits(connection, sources[:0]).empty
    assert len(read) == len(by_view) == sources["n_limits"].sum() > 10
    curves = [filled_database.light_curve(source) for source in sources["id"]]
    shown = pd.concat([curve[curve["is_limit"]] for curve in curves]).sort_values(["source_id", "epoch"])
    same_columns(shown, by_view, ("source_id", "epoch", "image", "measurement_id", "mjd", "band"))
    for limits in (by_view, shown, read):
        # The faintest row of an image tells the threshold, where there are enough rows.
        assert limits["upper_limit_mjy_beam"].between(DEFAULT_THRESHOLD, 15.0).all()
    assert sorted(read["upper_limit_mjy_beam"]) == sorted(by_view["upper_limit_mjy_beam"])
    assert shown["upper_limit_mjy_beam"].tolist() == by_view["upper_limit_mjy_beam"].tolist()
    place = sources.set_index("id").loc[by_view["source_id"]]
    assert by_view["ra_deg"].tolist() == place["first_ra_deg"].tolist()


def same_columns(first: pd.DataFrame, second: pd.DataFrame, names: Iterable[str]) -> None:
    for name in names:
        assert first[name].tolist() == second[name].tolist(), name
