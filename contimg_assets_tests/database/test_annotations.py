"""Tags, notes, favorites and saved lists: what holds, and that it follows sources through any refolding."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from contimg_assets.config import Variability
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.source_list import SourceQuery, list_sources
from contimg_assets.errors import InputError, StoreError
from contimg_assets.identity.ids import source_ids
from contimg_assets_tests.database.conftest import copied
from contimg_assets_tests.database.survey import Survey


def listed(database: ProductsDatabase, where: str) -> set[str]:
    return set(list_sources(database, SourceQuery(where), ["id"]).rows["id"])


def test_the_last_word_holds(filled_database: ProductsDatabase) -> None:
    database = filled_database
    sources = database.read_table("sources")
    first, second = sources["name"][0], sources["id"][1]
    database.tag(first, "variable", "needs-look", author="ann")
    database.tag(first, "variable", author="bob")
    database.tag(second, "variable", author="bob")
    database.note(first, "Beside a <b>jet</b>.", author="ann")
    database.favorite(first, author="ann")
    database.favorite(first, author="bob")
    tags = database.tags(first)
    assert set(tags["tag"]) == {"variable", "needs-look"} and set(tags["author"]) == {"ann"}
    assert list(tags) == ["name", "source_id", "tag", "author", "created_at"]
    assert listed(database, "tag = variable") == {sources["id"][0], second}
    assert listed(database, "tag = variable, tag != needs-look") == {second}
    assert listed(database, "favorite = bob, note ~ <b>jet") == {sources["id"][0]}
    assert len(listed(database, "tag != variable and n_measurements > 0")) == len(sources) - 2
    page = list_sources(database, SourceQuery(), ["name", "tags"]).rows.set_index("name")["tags"]
    assert page[first] == "needs-look variable" and (page.drop([first, sources["name"][1]]) == "").all()
    # Taken back by anybody, and said again: nothing that was said is lost.
    database.tag(first, "variable", author="bob", remove=True)
    database.tag(first, "variable", author="bob", remove=True)
    assert listed(database, "tag = variable") == {second}
    database.tag(first, "variable", author="ann")
    assert database.read_table("source_tags")["action"].tolist().count("add") == 4
    database.favorite(first, author="ann", remove=True)
    assert database.favorites()["author"].tolist() == ["bob"]
    database.note(first, "Beside a <b>jet</b>.", author="bob", remove=True)
    assert database.notes().empty and len(database.read_table("source_notes")) == 2


def test_lists_are_saved_under_names(database: ProductsDatabase) -> None:
    database.save_query("flares", "where=eta_peak+%3E+3", "ann")
    database.save_query("flares", "where=eta_peak+%3E+5", "bob")
    database.save_query("all", "")
    assert database.saved_query("flares") == "where=eta_peak+%3E+5"
    assert database.saved_queries()["name"].tolist() == ["all", "flares"]
    database.save_query("flares", remove=True)
    with pytest.raises(StoreError, match="no list is saved as 'flares'; there are: all"):
        database.saved_query("flares")


@pytest.mark.parametrize("tag", ["", "two words", "a,b", "x" * 65, "<b>", "a&b"])
def test_a_tag_is_one_word(filled_database: ProductsDatabase, tag: str) -> None:
    with pytest.raises(InputError, match="is not one word"):
        filled_database.tag(filled_database.read_table("sources")["id"][0], tag)


def test_what_conditions_on_words_cannot_ask(filled_database: ProductsDatabase) -> None:
    for where, said in (("tag > a", "ask tag = a"), ("tags = a", "tag = needs-look"), ("tga = a", "'tag' meant")):
        with pytest.raises(InputError, match=said):
            listed(filled_database, where)
    with pytest.raises(InputError, match="from 1 to"):
        filled_database.note(filled_database.read_table("sources")["id"][0], "  ")


@pytest.mark.slow
def test_what_people_say_survives_100_refoldings(tmp_path: Path, empty_database: Path) -> None:
    """Epochs come, go and are folded again, in one step or one by one; identities change each time."""
    # Without upper limits, which have no part in it and take half of the time.
    rng, parameters = np.random.default_rng(19), Variability(upper_limits=False)
    survey = Survey(n_sources=4, n_epochs=3, detected=1.0)
    every = frozenset(range(3))
    # The few that there are, checked once each.
    epoch = cache(lambda number, skip: survey.epoch(number, skip=skip))
    with copied(empty_database, tmp_path) as database:
        present = every
        database.replace_epochs(survey.epochs(), parameters)
        said: dict[int, set[str]] = {k: set() for k in range(4)}
        n_identities = set()
        for step in range(100):
            kept = set(rng.permutation(sorted(present))[: rng.integers(1, len(present) + 1)])
            after = frozenset(kept | set(rng.permutation(3)[: rng.integers(0, 3)]))
            deleted = [survey.names[number] for number in present - after]
            written = [epoch(int(number), every - after) for number in sorted(after)]
            way = rng.random()
            if way < 0.1:
                database.rebuild(written, parameters)
            elif way < 0.9:
                database.replace_epochs(written, parameters, delete=deleted)
            else:
                for one in written:
                    database.replace_epochs([one], parameters)
                database.replace_epochs([], parameters, delete=deleted)
            present = after
            ids = source_ids(survey.births(every - present))
            n_identities |= set(ids)
            if step % 10 == 0:
                k = int(rng.integers(4))
                said[k].add(f"step-{step}")
                database.tag(ids[k], f"step-{step}")
                database.note(ids[k], f"step-{step}")
                database.favorite(ids[k], author=f"step-{step}")
            if step % 20 == 19:
                for kind, column in (("tags", "tag"), ("notes", "note"), ("favorites", "author")):
                    found = getattr(database, kind)()
                    now = found.groupby("source_id")[column].agg(set).to_dict()
                    assert now == {ids[k]: words for k, words in said.items() if words}, (step, kind)
        assert len(n_identities) == 12
