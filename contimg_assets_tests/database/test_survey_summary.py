"""What a database holds in few numbers: the same whatever the order of arrival, and another version when it changes."""

from __future__ import annotations

import sqlalchemy as sa

from contimg_assets.config import Matching, Variability
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.engine import writing
from contimg_assets.database.matching import source_matching
from contimg_assets.database.survey_summary import NEEDED, image_corrections, listed, state_version
from contimg_assets.schemas.corrections import CORRECTIONS
from contimg_assets_tests.database.survey import Survey, nvss


def test_every_image_has_its_correction_in_the_order_of_time(database: ProductsDatabase) -> None:
    survey = Survey(n_epochs=3, n_images=2)
    for number in (2, 0, 1):
        database.replace_epochs([survey.epoch(number)])
    table = image_corrections(database)
    assert len(table) == 6
    assert list(table["mjd"]) == sorted(table["mjd"])
    assert set(CORRECTIONS.names) <= set(table.columns)
    assert table["trusted"].dtype == bool
    assert table["image"].str.startswith(tuple(survey.names)).all()


def test_lists_are_counted_as_people_are_given_them(filled_database: ProductsDatabase) -> None:
    parameters = Variability()
    counts = listed(filled_database, parameters)
    varying = filled_database.variables(q_value=parameters.max_q)
    assert counts.flux_kind == "peak"
    assert counts.has_peaks
    assert counts.n_sources == len(filled_database.read_table("sources"))
    assert counts.n_judged == len(filled_database.variables())
    assert counts.n_variables == len(varying) > 0
    assert 0 <= counts.n_variables_false <= parameters.max_q * len(varying)
    assert counts.n_new == len(filled_database.new_sources())
    # Fluxes scatter by a twentieth, and errors say one mJy.
    assert listed(filled_database, Variability(max_q=1.0)).n_variables == counts.n_judged


def test_an_empty_database_has_nothing_to_list(database: ProductsDatabase) -> None:
    counts = listed(database, Variability())
    assert (counts.n_sources, counts.n_judged, counts.n_variables, counts.n_variables_false) == (0, 0, 0, 0.0)
    assert counts.median_eta is None
    assert not counts.has_peaks
    assert image_corrections(database).empty


def test_the_version_is_of_the_state_and_not_of_its_history(database: ProductsDatabase, survey: Survey) -> None:
    parameters = Variability()
    matching = source_matching([nvss(survey)], Matching())
    seen = [state_version(database, parameters)]

    def changes(what: Variability = parameters) -> None:
        now = state_version(database, what)
        assert now not in seen
        seen.append(now)

    database.replace_epochs(survey.epochs()[:3], matching=matching)
    changes()
    whole = state_version(database, parameters)
    database.replace_epochs(survey.epochs()[:3], matching=matching)
    assert state_version(database, parameters) == whole
    database.replace_epochs([survey.epoch(1, flux_factor=2.0)], matching=matching)
    changes()
    database.replace_epochs([survey.epoch(1)], matching=matching)
    assert state_version(database, parameters) == whole
    # What is listed depends on it, though no row does.
    changes(Variability(max_q=0.01))
    source = database.read_table("sources")["id"][0]
    database.decide_match("reject", source, "nvss", "N001")
    changes()


def test_tables_of_an_older_version_are_known_by_their_columns(database: ProductsDatabase) -> None:
    assert database.holds(*NEEDED)
    assert database.holds()
    with writing(database.engine) as connection:
        connection.execute(sa.text("DROP VIEW IF EXISTS source_measurements"))
        connection.execute(sa.text("ALTER TABLE reference_catalogs DROP COLUMN beam_arcsec"))
    assert not database.holds(*NEEDED)
    assert database.holds("images", "corrections")


def test_a_database_without_tables_holds_none(url: str) -> None:
    with ProductsDatabase(url) as database:
        assert not database.holds("epochs")
