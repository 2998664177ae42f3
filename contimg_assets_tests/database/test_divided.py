"""Tables of PostgreSQL in parts by tile of the sky: the same rows, and questions that look into few parts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from contimg_assets.config import Config
from contimg_assets.database import EpochProducts, ProductsDatabase
from contimg_assets.database.changes import epoch_changes
from contimg_assets.database.image_contents import image_measurements
from contimg_assets.database.tiles import DIVIDED
from contimg_assets.errors import StoreError
from contimg_assets.sky.cells import INDEX_ORDER, index_cells
from contimg_assets_tests import postgres
from contimg_assets_tests.database.conftest import PARTITION_ORDER, assert_same_rows, copied, dump
from contimg_assets_tests.database.consistency import inconsistencies
from contimg_assets_tests.database.survey import Survey, with_forks

_SHIFT = 2 * (INDEX_ORDER - PARTITION_ORDER)
_PART = re.compile(rf"\bon ({'|'.join(DIVIDED)})_(\d+)\b")


@pytest.fixture
def divided(postgres_server: str, empty_divided: str) -> Iterator[ProductsDatabase]:
    with ProductsDatabase(postgres.fresh_database(postgres_server, like=empty_divided)) as opened:
        yield opened


def _moved(products: EpochProducts) -> EpochProducts:
    """The same epoch with all measurements in other tiles."""
    rows = pd.DataFrame(products.measurements)
    dec = rows["dec_deg"] + 2.0
    place = {"dec_deg": dec, "dec_corr_deg": dec, "healpix": index_cells(rows["ra_deg"], dec)}
    return replace(products, measurements=rows.assign(**place))


def test_rows_are_those_of_sqlite_wherever_measurements_go(
    divided: ProductsDatabase, empty_database: Path, tmp_path: Path
) -> None:
    survey = Survey(n_sources=25, n_epochs=4)
    epochs, _ = with_forks(survey.epochs(), 3)
    without = with_forks([survey.epoch(number, skip=frozenset({1})) for number in (0, 2, 3)], 3)[0]
    with copied(empty_database, tmp_path) as sqlite:
        for database in (divided, sqlite):
            # The forks of the last epoch copied rows of the first, which comes later, moves, goes and comes back.
            database.replace_epochs([epochs[3], *epochs[:3]])
            database.replace_epochs([_moved(epochs[0])])
            database.replace_epochs(epochs)
            database.replace_epochs(without, delete=[epochs[1].epoch])
            database.replace_epochs([_moved(epochs[0]), *epochs[1:]])
        assert_same_rows(dump(divided), dump(sqlite))
        some = sqlite.read_table("sources")["id"][:3]
        for source in some:
            pd.testing.assert_frame_equal(divided.light_curve(source), sqlite.light_curve(source))
    assert inconsistencies(divided) == {}
    assert divided.orphans() == {}
    assert divided.check() == []
    apart = "SELECT a.healpix FROM associations a JOIN measurements m USING (epoch, measurement_id) "
    assert divided.query(apart + "WHERE m.healpix <> a.healpix").empty
    noted = divided.query("SELECT epoch, tile FROM epoch_tiles ORDER BY epoch, tile")
    held = f"SELECT DISTINCT epoch, CAST(healpix >> {_SHIFT} AS INTEGER) AS tile FROM measurements ORDER BY epoch, tile"
    pd.testing.assert_frame_equal(noted, divided.query(held))


def _asked(database: ProductsDatabase, ask: Callable[[], object]) -> dict[str, set[int]]:
    """Tiles whose parts PostgreSQL plans to look into, by table."""
    statements = []

    def heard(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        statements.append((statement, parameters))

    sa.event.listen(database.engine, "before_cursor_execute", heard)
    ask()
    sa.event.remove(database.engine, "before_cursor_execute", heard)
    found: dict[str, set[int]] = {}
    with database.engine.connect() as connection:
        for statement, parameters in statements:
            if statement.startswith("SELECT") and any(name in statement for name in DIVIDED):
                plan = "\n".join(connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars())
                for table, tile in _PART.findall(plan):
                    found.setdefault(table, set()).add(int(tile))
    return found


def test_questions_look_into_the_parts_that_they_are_about(divided: ProductsDatabase) -> None:
    here, far = Survey(n_sources=20, n_epochs=3), Survey(n_sources=20, n_epochs=3, dec=-30.0, prefix="far")
    divided.replace_epochs([*here.epochs(), *far.epochs()])
    epoch = here.names[0]
    of_epoch = set(divided.query("SELECT tile FROM epoch_tiles WHERE epoch = :e", {"e": epoch})["tile"])
    every = set(divided.query("SELECT tile FROM epoch_tiles")["tile"])
    assert len(of_epoch) > 1
    assert of_epoch < every

    # A cone needs the sources alone.
    source = divided.cone(0.0, 16.0, 3600.0).iloc[0]
    assert _asked(divided, lambda: divided.cone(0.0, 16.0, 600.0)) == {}
    cells = divided.query("SELECT healpix FROM source_measurements WHERE source_id = :s", {"s": source["id"]})
    own = set((cells["healpix"].to_numpy() >> _SHIFT).tolist())
    curve = _asked(divided, lambda: divided.light_curve(source["id"]))
    assert own <= curve["measurements"] == curve["associations"]
    assert len(curve["measurements"]) <= 4
    assert len(curve["image_limits"]) <= 4
    for ask in (
        lambda: epoch_changes(divided, epoch, Config().variability),
        lambda: image_measurements(divided, epoch, f"{epoch}_00", "peak"),
    ):
        assert _asked(divided, ask) == dict.fromkeys(("measurements", "associations"), of_epoch)

    # In SQL: what lies in some cells.
    tile = min(of_epoch)
    first, last = tile << _SHIFT, ((tile + 1) << _SHIFT) - 1
    cells = f"SELECT epoch, flux_peak_corr_mjy_beam FROM measurements WHERE healpix BETWEEN {first} AND {last}"
    assert _asked(divided, lambda: divided.query(cells)) == {"measurements": {tile}}


def test_a_source_whose_measurements_are_far_from_it_is_found_whole(divided: ProductsDatabase) -> None:
    survey = Survey(n_sources=10, n_epochs=3, detected=1.1)
    divided.replace_epochs([_moved(survey.epoch(0)), survey.epoch(1), survey.epoch(2)])
    counts = divided.query("SELECT source_id, count(*) AS n FROM associations GROUP BY source_id")
    for row in counts.head(3).itertuples():
        assert len(divided.light_curve(row.source_id)) == row.n == 3


def test_who_reads_does_not_wait_for_new_parts(divided: ProductsDatabase) -> None:
    here, far = Survey(n_sources=10, n_epochs=2), Survey(n_sources=10, n_epochs=1, dec=-30.0, prefix="far")
    divided.replace_epochs(here.epochs())
    count = sa.text("SELECT count(*) FROM source_measurements")
    with ProductsDatabase(divided.url) as writer, divided.engine.connect() as reader:
        reader = reader.execution_options(isolation_level="REPEATABLE READ")
        before = reader.execute(count).scalar_one()
        # One that waited for a lock would fail.
        sa.event.listen(writer.engine, "begin", lambda one: one.exec_driver_sql("SET LOCAL lock_timeout = '1s'"))
        writer.replace_epochs(far.epochs())
        assert reader.execute(count).scalar_one() == before
    assert len(divided.query("SELECT measurement_id FROM source_measurements")) > before


def test_only_a_new_database_is_divided(postgres_url: str, sqlite_url: str) -> None:
    with ProductsDatabase(postgres_url) as database:
        database.upgrade()
    with ProductsDatabase(postgres_url, 3) as database:
        database.upgrade()
        assert database.check() == []
        assert database.query("SELECT to_regclass('partitioning') AS there")["there"].item() is None
    with ProductsDatabase(sqlite_url, 3) as database, pytest.raises(StoreError, match="only PostgreSQL divides tables"):
        database.upgrade()
    with pytest.raises(
        ValueError, match=r"products\.partition_order is for PostgreSQL, and paths\.products names SQLite"
    ):
        Config(products={"partition_order": 3})
