"""Forks and aliases: measurements that sources share, or that moved from one to another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from contimg_assets.database import ProductsDatabase
from contimg_assets.database.writing.aliases import _settled
from contimg_assets.identity.ids import source_ids
from contimg_assets_tests.database.conftest import HISTORY, assert_same_rows, dump
from contimg_assets_tests.database.survey import Survey, fork_id


def test_a_fork_carries_its_parents_history(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=3, n_epochs=3, detected=1.0)
    epochs = survey.epochs()
    parent = epochs[0].associations.source_id[0]
    shared = survey.measurement_ids(2)[0]
    child = fork_id(parent, shared)
    history = epochs[0].associations[epochs[0].associations.source_id == parent]
    copies = pd.concat(
        [history, epochs[1].associations[epochs[1].associations.source_id == parent]], ignore_index=True
    ).assign(source_id=child, copied=True)
    own = epochs[2].associations[epochs[2].associations.source_id == parent].assign(source_id=child)
    relations = pd.DataFrame({"from_source_id": [parent], "to_source_id": [child], "kind": ["fork"]})
    forked = replace(
        epochs[2], associations=pd.concat([epochs[2].associations, copies, own], ignore_index=True), relations=relations
    )
    database.replace_epochs([*epochs[:2], forked])
    rows = database.query("SELECT id, n_measurements, n_relations, ra_deg FROM sources").set_index("id")
    assert rows.n_measurements[child] == rows.n_measurements[parent] == 3
    assert rows.n_relations[[parent, child]].tolist() == [1, 1]
    assert rows.ra_deg[child] == rows.ra_deg[parent]
    same = dump(database)
    # Written one by one, and once with another flux in an epoch that the fork copied from.
    database.rebuild([])
    for products in (epochs[0], epochs[1], forked):
        database.replace_epochs([products])
    assert_same_rows(dump(database, HISTORY), {k: v for k, v in same.items() if k not in HISTORY})
    database.replace_epochs([survey.epoch(1, flux_factor=2.0)])
    v = database.query("SELECT source_id, v_peak FROM variability").set_index("source_id").v_peak
    assert v[child] == v[parent]
    # Back to no fork.
    database.replace_epochs([epochs[1], epochs[2]])
    assert child not in set(database.query("SELECT id FROM sources").id)


def test_aliases_follow_the_measurements(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=8, n_epochs=3, detected=1.0)
    late = frozenset({0})
    database.replace_epochs([survey.epoch(1, skip=late), survey.epoch(2, skip=late)])
    old = database.query("SELECT id, ra_deg FROM sources").set_index("id").ra_deg
    # An earlier epoch arrives: every source is born in it now.
    report = database.replace_epochs(survey.epochs())
    assert report.n_aliases == 8
    aliases = database.query("SELECT alias, source_id FROM source_aliases").set_index("alias").source_id
    new = database.query("SELECT id, ra_deg FROM sources").set_index("id").ra_deg
    assert set(aliases.index) == set(old.index)
    offset = (new[aliases[old.index]].to_numpy() - old.to_numpy() + 180) % 360 - 180
    assert np.abs(offset).max() < 2 / 3600
    # It is taken away again: the old sources are back and need no alias, the others have one.
    database.replace_epochs([survey.epoch(1, skip=late), survey.epoch(2, skip=late)], delete=[survey.names[0]])
    back = database.query("SELECT alias, source_id FROM source_aliases").set_index("alias").source_id
    assert set(back.index) == set(new.index)
    assert set(back) == set(old.index)


def test_chains_of_aliases_end_at_a_present_source(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=4, n_epochs=3, detected=1.0)
    database.replace_epochs([survey.epoch(2, skip=frozenset({0, 1}))])
    oldest = set(database.query("SELECT id FROM sources").id)
    database.replace_epochs([survey.epoch(n, skip=frozenset({0})) for n in (1, 2)])
    database.replace_epochs(survey.epochs())
    aliases = database.query("SELECT alias, source_id FROM source_aliases")
    assert len(aliases) == 8
    assert oldest <= set(aliases.alias)
    assert set(aliases.source_id) == set(database.query("SELECT id FROM sources").id)


def test_aliases_when_an_epoch_goes_after_the_others_changed(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=8, n_epochs=3, detected=1.0)
    without = frozenset({0})
    database.replace_epochs(survey.epochs())
    old = source_ids(survey.births())
    # The later epochs are folded again without the first, one by one; the old sources still hold the first.
    for number in (1, 2):
        database.replace_epochs([survey.epoch(number, skip=without)])
        assert database.present_source(old[3]) == old[3]
    # Now their last measurements go.
    database.delete_epoch(survey.names[0])
    new = source_ids(survey.births(without))
    assert [database.present_source(source) for source in old] == list(new)
    # And back again.
    database.replace_epochs(survey.epochs())
    assert [database.present_source(source) for source in old] == list(old)
    assert [database.present_source(source) for source in new] == list(old)
    aliases = database.read_table("source_aliases")
    assert aliases["gone"].all()
    assert set(aliases["alias"]) == set(new)


def test_heirs_that_are_gone_themselves_are_followed_to_theirs() -> None:
    """Two sources of a chain may go in one transaction, in any order of their names."""
    expected = {"a": "c", "b": "c", "d": None, "e": None}
    assert _settled({"a": "b", "b": "c", "d": None, "e": "d"}) == expected
    assert _settled({"e": "d", "d": None, "b": "c", "a": "b"}) == expected
    assert _settled({"a": "b", "b": "a"}) == {"a": None, "b": None}
