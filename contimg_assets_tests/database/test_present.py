"""Writing an epoch reads the sources near it alone, and leaves what reading all of them leaves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from contimg_assets.database import ProductsDatabase
from contimg_assets.database.writing import present
from contimg_assets.sky.sphere import nearest_other, tree_of, unit_vectors
from contimg_assets_tests.database.conftest import assert_same_rows, dump
from contimg_assets_tests.database.survey import Survey


def _images(survey: Survey, radius_deg: float = 2.0) -> pd.DataFrame:
    return pd.DataFrame({"ra_deg": [survey.centre[0]], "dec_deg": [survey.centre[1]], "radius_deg": [radius_deg]})


@pytest.mark.parametrize("dec", [16.0, 89.5])
def test_sources_far_from_the_images_are_not_read(database: ProductsDatabase, dec: float) -> None:
    here = Survey(n_sources=60, n_epochs=3, dec=dec)
    far = Survey(n_sources=50, n_epochs=2, seed=2, dec=-50.0, prefix="far")
    database.replace_epochs([*here.epochs()[:2], *far.epochs()])
    with database.engine.connect() as connection:
        found = present.read_sources(connection, _images(here))
        assert present.count_sources(connection) == len(present.read_sources(connection).ids)
        assert 0 < len(found.ids) < present.count_sources(connection)
        assert (found.sources["dec_deg"] > 0).all() and (np.diff(found.ids) > 0).all()
        assert found.holds(here.ra, here.dec) and not found.holds(far.ra, far.dec)
        assert len(present.read_sources(connection, _images(here).head(0)).ids) == 0
        everything = present.read_sources(connection).ids
        assert present.all_there(connection, found, found.ids)
        assert not present.all_there(connection, found, everything)
        assert present.all_there(connection, found, np.array([5], dtype=np.uint64))
    # One epoch after the other gives what all at once give, neighbors too.
    database.replace_epochs([here.epoch(2)])
    after = dump(database, ("source_aliases", "recomputed_with"))
    sources = database.read_table("sources")
    nearest = nearest_other(tree_of(unit_vectors(sources["ra_deg"], sources["dec_deg"])))
    np.testing.assert_allclose(sources["neighbour_arcsec"], nearest, rtol=1e-9)
    database.rebuild([*here.epochs(), *far.epochs()])
    assert_same_rows(dump(database, ("source_aliases", "recomputed_with")), after)


def test_where_a_source_is_alone_all_are_read(database: ProductsDatabase) -> None:
    here = Survey(n_sources=60, n_epochs=2)
    alone = Survey(n_sources=1, n_epochs=1, dec=-50.0, detected=1.0, prefix="alone")
    database.replace_epochs([*here.epochs(), *alone.epochs()])
    with database.engine.connect() as connection:
        assert len(present.read_sources(connection, _images(here)).ids) == present.count_sources(connection)
    # A second one comes, far from the first: each is the other's nearest.
    second = Survey(n_sources=1, n_epochs=1, dec=-60.0, detected=1.0, prefix="second")
    database.replace_epochs(second.epochs())
    separation = database.query("SELECT neighbour_arcsec FROM sources WHERE dec_deg < 0").neighbour_arcsec
    assert separation.between(8 * 3600.0, 12 * 3600.0).all() and len(separation) == 2


def test_a_source_in_an_empty_place_finds_its_nearest_however_far(database: ProductsDatabase) -> None:
    here = Survey(n_sources=60, n_epochs=2)
    database.replace_epochs(here.epochs())
    with database.engine.connect() as connection:
        assert present.read_sources(connection, _images(here)).core is not None
    lone = Survey(n_sources=1, n_epochs=1, dec=-5.0, detected=1.0, prefix="lone")
    database.replace_epochs(lone.epochs())
    sources = database.read_table("sources")
    nearest = nearest_other(tree_of(unit_vectors(sources["ra_deg"], sources["dec_deg"])))
    np.testing.assert_allclose(sources["neighbour_arcsec"], nearest, rtol=1e-9)
    database.delete_epoch(lone.names[0])
    assert (database.read_table("sources")["neighbour_arcsec"] < 3600.0).all()
