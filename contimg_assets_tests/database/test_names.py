"""Names of sources: unique, the same whatever the order of arrival, kept by what is gone, and understood in part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from contimg_assets.config import Matching, Variability
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.matching import source_matching
from contimg_assets.errors import InputError, StoreError
from contimg_assets.identity.ids import source_ids
from contimg_assets.identity.names import designations, name_cells
from contimg_assets_tests.database.conftest import copied
from contimg_assets_tests.database.survey import Survey, nvss, with_forks


def test_sources_are_named_by_their_first_detection(filled_database: ProductsDatabase) -> None:
    sources = filled_database.read_table("sources")
    places = designations(name_cells(sources["first_ra_deg"], sources["first_dec_deg"]))
    assert sources["name"].tolist() == [f"DSA {one}" for one in places]
    assert filled_database.names(sources["id"][:3].tolist()).tolist() == sources["name"][:3].tolist()
    assert filled_database.variables().columns[0] == sources.columns[0] == "name"


def test_forks_have_a_letter_and_any_order_gives_the_same_names(empty_database: Path, tmp_path: Path) -> None:
    """A fork has its parent's first detection; the parent keeps its name."""
    epochs, forks = with_forks(Survey(n_sources=25, n_epochs=4, detected=1.0).epochs(), 3)
    found = []
    for number, order in enumerate(([0, 1, 2, 3], [3, 0, 2, 1], [2, 3, 1, 0])):
        with copied(empty_database, tmp_path, f"{number}.sqlite3") as database:
            for at in order:
                # As they are folded: without what has not arrived, the last one has nothing to fork from.
                if at == 3 and number:
                    continue
                database.replace_epochs([epochs[at]])
            plain = database.read_table("sources").set_index("id")["name"]
            database.replace_epochs(epochs)
            found.append(database.read_table("sources").set_index("id")["name"])
            assert found[-1].is_unique
            if number:
                assert (found[-1][plain.index] == plain).all()
    names = found[0]
    assert names[forks].str.endswith("B").all()
    assert sorted(names[forks].str[:-1]) == sorted(set(names[forks].str[:-1]) & set(names))
    for other in found[1:]:
        pd.testing.assert_series_equal(other, names)


def test_a_name_outlives_its_source(database: ProductsDatabase) -> None:
    """The first epoch comes last, and other measurements give birth to the sources."""
    survey = Survey(n_sources=6, n_epochs=3, detected=1.0)
    late = frozenset({0})
    database.replace_epochs([survey.epoch(number, skip=late) for number in (1, 2)])
    old = database.read_table("sources").set_index("id")["name"]
    # Delivered with an offset, so that the names are others.
    first = survey.epoch(0)
    moved = first.measurements.assign(
        ra_corr_deg=(first.measurements["ra_corr_deg"] + 3 / 3600) % 360,
    )
    database.replace_epochs([replace(first, measurements=moved), survey.epoch(1), survey.epoch(2)])
    new = database.read_table("sources").set_index("id")["name"]
    assert not set(old) & set(new)
    for gone, name in old.items():
        assert database.find_source(name) == database.present_source(str(gone)) != gone
        assert database.source(name)["name"] == new[database.present_source(str(gone))]
    # And back: the names go with their sources.
    database.replace_epochs([survey.epoch(number, skip=late) for number in (1, 2)], delete=[survey.names[0]])
    assert database.read_table("sources").set_index("id")["name"].equals(old)
    assert database.find_source(new.iloc[0]) in old.index


def test_parts_of_names(filled_database: ProductsDatabase, survey: Survey) -> None:
    sources = filled_database.read_table("sources")
    name, identity = sources["name"][4], sources["id"][4]
    short = name.split(" ")[1]
    for text in (name, short, name.lower(), short[:11] + short[11:].replace("-", "−"), f"  {name} "):
        assert filled_database.find_source(text) == identity, text
    assert len(filled_database.light_curve(short)) == len(filled_database.light_curve(identity))
    with pytest.raises(InputError, match=r"part of the names of several sources: DSA J.* and \d+ more"):
        filled_database.find_source("J00")
    # What has no source of that name is a place.
    assert filled_database.find_source(short[:-1] + str((int(short[-1]) + 1) % 10), 20.0) == identity
    with pytest.raises(StoreError, match="no source within"):
        filled_database.find_source("J120000.0-600000")
    with pytest.raises(InputError, match="neither a source id"):
        filled_database.find_source("no such source")


def test_another_acronym_names_all_again(database: ProductsDatabase, survey: Survey) -> None:
    database.replace_epochs(survey.epochs())
    before = database.read_table("sources")["name"]
    database.replace_epochs([], Variability(name_acronym="VLASS QL"))
    after = database.read_table("sources")["name"]
    assert after.tolist() == [one.replace("DSA", "VLASS QL") for one in before]
    assert database.find_source(before[0]) == database.find_source(after[0])
    assert Variability().version == Variability(name_acronym="DSA").version


def test_names_of_counterparts(database: ProductsDatabase, survey: Survey) -> None:
    database.replace_epochs(survey.epochs(), matching=source_matching([nvss(survey)], Matching()))
    ids = source_ids(survey.births())
    assert database.find_source("N007") == database.find_source("NVSS N007") == ids[7]
    with pytest.raises(InputError, match="neither a source id"):
        database.find_source("first N007")
