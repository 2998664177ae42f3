"""Simple Cone Search: what a client of the Virtual Observatory gets is what `ProductsDatabase.cone` gives."""

from __future__ import annotations

import io

import numpy as np
import pytest
from astropy.io.votable import parse
from starlette.testclient import TestClient

from contimg_assets.database import ProductsDatabase

PLACES = ((0.0, 16.0, 0.5), (359.99, 16.3, 0.2), (0.0, 90.0, 180.0), (100.0, -50.0, 1.0))


def test_a_client_gets_the_rows_of_a_cone(served: str, products: ProductsDatabase) -> None:
    pyvo = pytest.importorskip("pyvo", reason="pyvo is not installed: pip install 'contimg-assets[fetch]'")
    for ra, dec, radius in PLACES:
        found = pyvo.dal.conesearch(f"{served}/scs", (ra, dec), radius)
        right = products.cone(ra, dec, radius * 3600.0)
        assert [one.id for one in found] == right["id"].tolist()
        table = found.to_table()
        for name in ("ra_deg", "dec_deg", "separation_arcsec", "flux_peak_mjy_beam", "n_measurements"):
            np.testing.assert_array_equal(np.asarray(table[name]), right[name])
        if len(found):
            assert found[0].pos.ra.deg == right["ra_deg"][0]
    assert len(products.cone(0.0, 16.0, 1800.0)) > 5


WRONG = ["", "RA=1&DEC=2", "RA=x&DEC=2&SR=1", "RA=361&DEC=2&SR=1", "RA=1&DEC=2&SR=-1", "RA=nan&DEC=2&SR=1"]


@pytest.mark.parametrize("asked", WRONG)
def test_errors_are_told_as_the_standard_asks(client: TestClient, asked: str) -> None:
    answer = client.get(f"/scs?{asked}")
    assert answer.headers["content-type"].startswith("application/x-votable+xml")
    (info,) = [one for one in parse(io.BytesIO(answer.content)).infos if one.name == "Error"]
    assert "must be" in str(info.value)


def test_a_radius_of_zero_asks_for_columns_alone(client: TestClient) -> None:
    table = parse(io.BytesIO(client.get("/scs?ra=0&dec=16&sr=0").content)).get_first_table()
    assert len(table.array) == 0
    ucds = [field.ucd for field in table.fields]
    for ucd in ("ID_MAIN", "POS_EQ_RA_MAIN", "POS_EQ_DEC_MAIN"):
        assert ucds.count(ucd) == 1
