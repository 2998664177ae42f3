"""Exports: every table and all pairs in every format, with units, against what the tables hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.io.votable import parse
from astropy.table import Table

from contimg_assets.config import Matching
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.export import arrow_schema, export, export_pairs, export_table, exportable
from contimg_assets.database.matching import source_matching
from contimg_assets.database.models import TABLES
from contimg_assets.database.views import VIEWS
from contimg_assets.errors import InputError
from contimg_assets.identity.ids import source_ids
from contimg_assets_tests.database.conftest import copied
from contimg_assets_tests.database.survey import Survey, nvss, with_forks


@pytest.fixture(scope="module")
def with_history(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProductsDatabase]:
    """A database to export, with something in every table; not to be changed."""
    survey = Survey(n_sources=8, n_epochs=3)
    matching = source_matching([nvss(survey)], Matching())
    with copied(empty_database, tmp_path_factory.mktemp("exported")) as database:
        database.replace_epochs([survey.epoch(number, skip=frozenset({0})) for number in (1, 2)], matching=matching)
        # A counterpart that matching does not find has hardly a number; old sources get aliases.
        source = database.read_table("sources")["id"][0]
        database.decide_match("accept", source, "nvss", "N007", matching=matching)
        database.replace_epochs(survey.epochs(), matching=matching)
        yield database


@pytest.mark.parametrize("name", exportable())
def test_every_table_exports_to_every_format(name: str, with_history: ProductsDatabase, tmp_path: Path) -> None:
    """Every value as it is in the table, and missing where it is missing there."""
    is_view = name in VIEWS
    order = "source_id" if name == "variability_stats" else "source_id, mjd"
    key = order if is_view else ", ".join(column.name for column in TABLES[name].primary_key)
    expected = with_history.query(f"SELECT * FROM {name} ORDER BY {key}").astype(object)
    for suffix, kind in (("parquet", None), ("csv", None), ("xml", None), ("vot", "votable"), ("fits", None)):
        file = tmp_path / f"t.{suffix}"
        assert export_table(with_history, name, file, kind) == len(expected)
        found = pq.read_table(file) if suffix == "parquet" else as_arrow(file, arrow_schema(name))
        # Columns that a migration added stand last in the database.
        assert sorted(found.column_names) == sorted(expected)
        for column in found.column_names:
            got = [None if value == "" else value for value in found[column].to_pylist()]
            wanted = expected[column].where(expected[column].notna(), None).tolist()
            assert got == wanted, f"{column} in {suffix}"
    assert not list(tmp_path.glob(".*"))


def as_arrow(file: Path, schema: pa.Schema) -> pa.Table:
    """A file as its readers see it; masked values are missing."""
    if file.suffix == ".csv":
        options = pa_csv.ConvertOptions(column_types=schema, strings_can_be_null=True, quoted_strings_can_be_null=False)
        return pa_csv.read_csv(file, convert_options=options)
    table = Table.read(file)
    columns = {}
    for name in table.colnames:
        values = table[name].astype(str) if table[name].dtype.kind in "SO" else table[name]
        mask = np.ma.getmaskarray(np.ma.MaskedArray(values))
        plain = np.ma.getdata(np.ma.MaskedArray(values)).tolist()
        columns[name] = [None if gone else value for value, gone in zip(plain, mask, strict=True)]
    return pa.table(columns)


def test_exports_say_units_and_ucds(filled_database: ProductsDatabase, tmp_path: Path) -> None:
    from astropy.io.votable import parse_single_table

    export_table(filled_database, "sources", tmp_path / "sources.xml")
    fields = {field.name: field for field in parse_single_table(tmp_path / "sources.xml").fields}
    assert str(fields["ra_deg"].unit) == "deg"
    assert fields["ra_deg"].ucd == "pos.eq.ra;meta.main"
    assert str(fields["flux_int_mjy"].unit) == "mJy"
    assert "integrated" in fields["flux_int_mjy"].description
    export_table(filled_database, "sources", tmp_path / "sources.parquet")
    field = pq.read_schema(tmp_path / "sources.parquet").field("first_mjd")
    assert field.metadata[b"unit"] == b"d"
    stored = pq.read_table(tmp_path / "sources.parquet").to_pandas()
    np.testing.assert_array_equal(stored["ra_deg"], filled_database.read_table("sources")["ra_deg"])
    assert stored["is_new"].dtype == bool


def test_exports_refuse_what_they_do_not_know(filled_database: ProductsDatabase, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no table 'stars'"):
        export_table(filled_database, "stars", tmp_path / "t.csv")
    with pytest.raises(InputError, match="format 'doc' is unknown"):
        export_table(filled_database, "sources", tmp_path / "t.doc")
    with pytest.raises(InputError, match=r"the suffix of t\.csv says csv, not fits"):
        export_table(filled_database, "sources", tmp_path / "t.csv", "fits")
    for table, file, message in (
        ("sources", tmp_path, "is a folder"),
        ("sources", tmp_path / "no" / "t.csv", "no does not exist"),
        ("pairs", tmp_path / "no" / "t.parquet", "no does not exist"),
        ("pairs", tmp_path / "t.csv", "pairs are written as parquet only"),
    ):
        with pytest.raises(InputError, match=message):
            export(filled_database, table, file)
    assert not list(tmp_path.glob("*t.*"))


def test_pairs_on_request(filled_database: ProductsDatabase, survey: Survey, tmp_path: Path) -> None:
    n = survey.seen.sum(axis=0)
    assert export_pairs(filled_database, tmp_path / "pairs.parquet") == (n * (n - 1) // 2).sum()
    pairs = pq.read_table(tmp_path / "pairs.parquet").to_pandas()
    assert (pairs["mjd_a"] < pairs["mjd_b"]).all()
    source = source_ids(survey.births())[int(np.argmax(n))]
    only = export_pairs(filled_database, tmp_path / "one.parquet", [source])
    assert only == n.max() * (n.max() - 1) // 2
    row = pairs[pairs["source_id"] == source].iloc[0]
    curve = filled_database.light_curve(source).set_index("measurement_id")["flux_peak_corr_mjy_beam"]
    a, b = curve[row["measurement_id_a"]], curve[row["measurement_id_b"]]
    assert row["vs_peak"] == pytest.approx((a - b) / np.sqrt(2))
    assert row["m_peak"] == pytest.approx(2 * (a - b) / (a + b))


def test_pairs_of_a_fork_count_what_it_copied(database: ProductsDatabase, tmp_path: Path) -> None:
    epochs, forks = with_forks(Survey(n_sources=12, n_epochs=3, detected=1.0).epochs(), 6)
    database.replace_epochs(epochs)
    assert export_pairs(database, tmp_path / "pairs.parquet", forks) == 3 * len(forks)
    for fork in forks:
        assert export_pairs(database, tmp_path / "one.parquet", [fork]) == 3


def test_tables_say_their_frames_and_what_errors_are(
    filled_database: ProductsDatabase, tmp_path: Path, survey: Survey
) -> None:
    export_table(filled_database, "sources", tmp_path / "sources.xml")
    document = parse(tmp_path / "sources.xml")
    (resource,) = document.resources
    assert [one.system for one in resource.coordinate_systems] == ["ICRS"]
    assert [one.timescale for one in resource.time_systems] == ["UTC"]
    table = document.get_first_table()
    fields = {field.name: field for field in table.fields}
    assert table.description
    assert (fields["ra_deg"].ref, fields["first_mjd"].ref) == ("sky", "time")
    assert fields["flux_peak_err_mjy_beam"].ucd == "stat.error"
    export_table(filled_database, "sources", tmp_path / "sources.fits")
    with fits.open(tmp_path / "sources.fits") as hdus:
        assert hdus[1].name == "SOURCES" and len(hdus[1].data) == len(table.array)
