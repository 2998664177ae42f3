"""People's decisions about matches."""

import numpy as np
import pandas as pd
import pytest

from contimg_assets.crossmatch.overrides import accepted_pairs, apply_overrides
from contimg_assets.errors import InputError
from contimg_assets.schemas.matches import SOURCE_MATCHES


def matches() -> pd.DataFrame:
    rows = [
        ("s1", "nvss", "N1", 1, 0.9),
        ("s1", "nvss", "N2", 2, 0.1),
        ("s1", "first", "F1", 1, 0.8),
        ("s2", "nvss", "N3", 1, 0.7),
    ]
    table = pd.DataFrame(rows, columns=["source_id", "catalog", "catalog_source_id", "rank", "probability"])
    table = table.assign(mutual=True, blend=False, quality="A", manual=False, comment=pd.NA)
    table = table.sort_values(["source_id", "catalog", "rank"], ignore_index=True).reindex(columns=SOURCE_MATCHES.names)
    return SOURCE_MATCHES.to_arrow(table).to_pandas()


def overrides(*rows: tuple) -> pd.DataFrame:
    columns = ["source_id", "catalog", "catalog_source_id", "action", "comment", "created_at"]
    return pd.DataFrame([(*row, f"2026-01-{i:02d}") for i, row in enumerate(rows, 1)], columns=columns)


def applied(*rows: tuple, aliases: pd.DataFrame | None = None) -> pd.DataFrame:
    result = apply_overrides(matches(), overrides(*rows), aliases)
    SOURCE_MATCHES.to_arrow(result)
    return result.set_index(["source_id", "catalog", "catalog_source_id"])


def test_nothing_decided_changes_nothing() -> None:
    pd.testing.assert_frame_equal(apply_overrides(matches(), overrides()), matches())


def test_accepted_goes_first_and_keeps_its_probability() -> None:
    result = applied(("s1", "nvss", "N2", "accept", "jet"))
    assert result.loc[("s1", "nvss", "N2"), ["rank", "quality", "manual", "comment", "probability"]].tolist() == [
        1, "accepted", True, "jet", 0.1,
    ]  # fmt: skip
    assert result.loc[("s1", "nvss", "N1"), ["rank", "quality", "manual"]].tolist() == [2, "A", False]
    assert result.loc[("s1", "first", "F1"), "rank"] == 1


def test_rejected_goes_last() -> None:
    result = applied(("s1", "nvss", "N1", "reject", None))
    assert result.loc[("s1", "nvss"), "rank"].to_dict() == {"N2": 1, "N1": 2}
    assert result.loc[("s1", "nvss", "N1"), "quality"] == "rejected"
    assert pd.isna(result.loc[("s1", "nvss", "N1"), "comment"])


def test_accepted_that_matching_does_not_find_is_added() -> None:
    result = applied(("s2", "nvss", "N9", "accept", None), ("s3", "first", "F7", "accept", "by eye"))
    assert result.loc[("s2", "nvss"), "rank"].to_dict() == {"N9": 1, "N3": 2}
    assert result.loc[("s3", "first", "F7"), "comment"] == "by eye"
    assert np.isnan(result.loc[("s3", "first", "F7"), "probability"])


def test_added_rows_leave_counts_countable() -> None:
    table = matches().assign(n_candidates=2)
    result = apply_overrides(table, overrides(("s2", "nvss", "N9", "accept", None)))
    assert result["n_candidates"].dtype == "Int64"
    counts = SOURCE_MATCHES.to_arrow(result).column("n_candidates").to_pylist()
    assert sorted(counts, key=str) == [2, 2, 2, 2, None]


def test_accepted_pairs_are_those_that_stand() -> None:
    aliases = pd.DataFrame({"alias": ["old"], "source_id": ["s2"]})
    decided = overrides(
        ("s1", "nvss", "N1", "accept", None),
        ("s1", "nvss", "N1", "reject", None),
        ("old", "nvss", "N9", "accept", None),
        ("s1", "nvss", None, "comment", "hm"),
    )
    assert accepted_pairs(decided, aliases).to_numpy().tolist() == [["s2", "nvss", "N9"]]
    assert accepted_pairs(overrides()).empty


def test_latest_decision_holds_and_comments_decide_nothing() -> None:
    result = applied(
        ("s1", "nvss", "N1", "reject", "no"),
        ("s1", "nvss", "N1", "accept", "yes"),
        ("s1", "nvss", "N1", "comment", "hm"),
    )
    assert result.loc[("s1", "nvss", "N1"), ["quality", "comment", "rank"]].tolist() == ["accepted", "hm", 1]
    only = applied(("s1", "nvss", "N1", "comment", "hm"))
    assert only.loc[("s1", "nvss", "N1"), ["quality", "comment", "manual"]].tolist() == ["A", "hm", False]


def test_comment_on_a_source_is_on_all_its_matches_in_the_catalogue() -> None:
    result = applied(("s1", "nvss", None, "comment", "double"), ("s1", "nvss", "N2", "comment", "lobe"))
    assert result.loc[("s1", "nvss"), "comment"].to_dict() == {"N1": "double", "N2": "lobe"}
    assert pd.isna(result.loc[("s1", "first", "F1"), "comment"])


def test_decisions_follow_a_source_to_its_new_name() -> None:
    aliases = pd.DataFrame({"alias": ["old", "older"], "source_id": ["s1", "old"]})
    result = applied(("older", "nvss", "N2", "accept", None), aliases=aliases)
    assert result.loc[("s1", "nvss", "N2"), "rank"] == 1
    assert "older" not in result.index.get_level_values(0)


def test_applying_twice_is_applying_once() -> None:
    rows = (
        ("s1", "nvss", "N2", "accept", "a"),
        ("s2", "nvss", "N3", "reject", "b"),
        ("s2", "nvss", "N8", "accept", None),
    )
    once = apply_overrides(matches(), overrides(*rows))
    pd.testing.assert_frame_equal(apply_overrides(once, overrides(*rows)), once)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("s1", "nvss", "N1", "delete", None), "'delete' is unknown"),
        (("s1", "nvss", None, "accept", None), "source s1"),
    ],
)
def test_bad_decisions_are_named(row: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        apply_overrides(matches(), overrides(row))


def test_of_several_accepted_the_newest_is_the_best() -> None:
    result = applied(("s1", "nvss", "N1", "accept", None), ("s1", "nvss", "N2", "accept", None))
    assert result.loc[("s1", "nvss"), "rank"].to_dict() == {"N2": 1, "N1": 2}
    again = applied(*(("s1", "nvss", name, "accept", None) for name in ("N1", "N2", "N1")))
    assert again.loc[("s1", "nvss"), "rank"].to_dict() == {"N1": 1, "N2": 2}


def test_what_is_withdrawn_is_as_never_decided() -> None:
    pair = ("s1", "nvss", "N2")
    untouched = matches().set_index(["source_id", "catalog", "catalog_source_id"])
    pd.testing.assert_frame_equal(applied((*pair, "accept", "jet"), (*pair, "withdraw", None)), untouched)
    pd.testing.assert_frame_equal(applied((*pair, "withdraw", None)), untouched)
    # One that matching does not find is no longer added.
    assert ("s2", "nvss", "N9") not in applied(
        ("s2", "nvss", "N9", "accept", None), ("s2", "nvss", "N9", "withdraw", None)
    ).index
    assert accepted_pairs(overrides((*pair, "accept", None), (*pair, "withdraw", None))).empty
    # Why it was withdrawn is said; other pairs, and what is decided later, stand.
    result = applied(
        (*pair, "accept", "jet"), ("s1", "nvss", "N1", "reject", None), (*pair, "withdraw", "no jet"),
    )  # fmt: skip
    assert result.loc[pair, ["quality", "comment", "manual"]].tolist() == ["A", "no jet", False]
    assert result.loc[("s1", "nvss", "N1"), "quality"] == "rejected"
    result = applied((*pair, "reject", None), (*pair, "withdraw", None), (*pair, "accept", None))
    assert result.loc[pair, ["rank", "quality"]].tolist() == [1, "accepted"]
