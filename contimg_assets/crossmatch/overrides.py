"""What people decided about matches: accepted, rejected, commented. Applied last, to whatever the matching says."""

from __future__ import annotations

import numpy as np
import pandas as pd

from contimg_assets.errors import InputError
from contimg_assets.schemas.matches import SOURCE_MATCHES

ACTIONS = ("accept", "reject", "withdraw", "comment")
_KEY = ["source_id", "catalog", "catalog_source_id"]


def apply_overrides(
    matches: pd.DataFrame, overrides: pd.DataFrame, aliases: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The matches of sources with people's decisions applied.

    An accepted counterpart becomes the best of its source and catalog (rank 1) with quality ``accepted``, and is
    added where matching does not find it at all; of several accepted the one accepted last is the best. A rejected one
    goes last with quality ``rejected``; the next takes its place. A comment is shown and changes nothing. Of several
    decisions on one pair the latest holds; a comment without decision leaves an earlier decision standing. What is
    withdrawn is as if it had never been decided, and what was said with it is no longer shown.
    Probabilities stay what the data say.

    Parameters
    ----------
    matches : table of schema SOURCE_MATCHES
    overrides : columns source_id, catalog, catalog_source_id, action (one of `ACTIONS`), comment (may be
        missing), created_at (sortable: text in ISO format or timestamps). catalog_source_id may be missing in a
        comment: it is then about all the source's matches in that catalog
    aliases : columns alias, source_id: the present source that has the measurements of one that is no more; decisions
        follow it

    Returns
    -------
    DataFrame of schema SOURCE_MATCHES, sorted by source, catalog, rank

    Raises
    ------
    InputError
        If an action is unknown, or an accepted, rejected or withdrawn match names no catalog source.
    """
    if overrides.empty:
        return matches
    decided = _present(overrides, aliases)
    latest = _latest(decided)
    comments = decided[decided["comment"].notna()]
    result = matches.copy()
    result = _with_accepted(result, latest)
    action = result[_KEY].merge(latest[[*_KEY, "action"]], on=_KEY, how="left")["action"].to_numpy(dtype=object)
    accepted, rejected = action == "accept", action == "reject"
    result["manual"] = result["manual"].to_numpy(bool) | accepted | rejected
    result["comment"] = _comments(result, comments)
    result["quality"] = np.select([accepted, rejected], ["accepted", "rejected"], result["quality"].to_numpy(object))
    result["quality"] = result["quality"].astype("str")
    # The newest of several accepted is the best: who accepts another has changed his mind.
    newest = latest.reset_index(drop=True).rename_axis("_when").reset_index()[[*_KEY, "_when"]]
    when = result[_KEY].merge(newest, on=_KEY, how="left")["_when"].fillna(0).to_numpy()
    place = np.where(accepted, -1 - when, np.where(rejected, 2, 1))
    merged = result.merge(latest[["source_id", "catalog"]].drop_duplicates(), how="left", indicator=True)
    touched = (merged["_merge"] == "both").to_numpy()
    result = result.assign(_place=np.where(touched, place, 0))
    result = result.sort_values(["source_id", "catalog", "_place", "rank", "catalog_source_id"], ignore_index=True)
    result["rank"] = result.groupby(["source_id", "catalog"], sort=False).cumcount() + 1
    return result[SOURCE_MATCHES.names]


def accepted_pairs(overrides: pd.DataFrame, aliases: pd.DataFrame | None = None) -> pd.DataFrame:
    """Pairs whose latest decision is to accept them: source_id (as named now), catalog, catalog_source_id.

    For `match_sources`, which then tells separation, fluxes and probability of counterparts it would not look at.
    Parameters as of `apply_overrides`.
    """
    latest = _latest(_present(overrides, aliases))
    return latest.loc[latest["action"] == "accept", _KEY].reset_index(drop=True)


def _latest(decided: pd.DataFrame) -> pd.DataFrame:
    return decided[decided["action"] != "comment"].drop_duplicates(_KEY, keep="last")


def _present(overrides: pd.DataFrame, aliases: pd.DataFrame | None) -> pd.DataFrame:
    """The decisions in the order they were made, on the sources there are now."""
    wrong = ~overrides["action"].isin(ACTIONS)
    if wrong.any():
        raise InputError(
            f"override {overrides['action'][wrong].iloc[0]!r} is unknown; it is one of {', '.join(ACTIONS)}"
        )
    nameless = (overrides["action"] != "comment") & overrides["catalog_source_id"].isna()
    if nameless.any():
        source = overrides["source_id"][nameless].iloc[0]
        raise InputError(f"override of source {source}: say which catalog source is accepted, rejected or withdrawn")
    decided = overrides.sort_values("created_at", kind="stable", ignore_index=True)
    if aliases is not None and len(aliases):
        present = aliases.drop_duplicates("alias", keep="last").set_index("alias")["source_id"]
        # An alias may have become one itself: follow until nothing changes, at most once per alias.
        for _ in range(len(present)):
            followed = decided["source_id"].map(present).fillna(decided["source_id"])
            if followed.equals(decided["source_id"]):
                break
            decided = decided.assign(source_id=followed)
    return _standing(decided)


def _standing(decided: pd.DataFrame) -> pd.DataFrame:
    """The decisions that nobody withdrew later; why somebody did is a comment."""
    withdrawn = (decided["action"] == "withdraw").to_numpy(bool)
    if not withdrawn.any():
        return decided
    places = decided[_KEY].assign(_at=np.arange(len(decided)))
    last = places[withdrawn].drop_duplicates(_KEY, keep="last").rename(columns={"_at": "_last"})
    until = decided[_KEY].merge(last, on=_KEY, how="left")["_last"].fillna(-1).to_numpy()
    stands = (decided["action"] == "comment").to_numpy(bool) | (np.arange(len(decided)) >= until)
    said = decided.assign(action=decided["action"].mask(withdrawn, "comment"))
    return said[stands & (~withdrawn | decided["comment"].notna().to_numpy(bool))].reset_index(drop=True)


def _with_accepted(matches: pd.DataFrame, latest: pd.DataFrame) -> pd.DataFrame:
    """The matches with a row for every accepted counterpart that matching does not find."""
    accepted = latest.loc[latest["action"] == "accept", _KEY]
    found = accepted.merge(matches[_KEY], on=_KEY, how="left", indicator=True)
    missing = found.loc[found["_merge"] == "left_only", _KEY]
    if missing.empty:
        return matches
    # It is no candidate, so what counts or measures candidates is missing; NumPy's integers cannot say that.
    matches = matches.astype({"n_candidates": "Int64"})
    added = missing.assign(rank=1, mutual=False, blend=False, quality="accepted", manual=True)
    added = added.reindex(columns=matches.columns).astype(matches.dtypes)
    return pd.concat([matches, added], ignore_index=True)


def _comments(matches: pd.DataFrame, comments: pd.DataFrame) -> pd.Series:
    """The latest comment on the match itself, else on its source and catalog."""
    own = comments.dropna(subset="catalog_source_id").drop_duplicates(_KEY, keep="last")
    general = comments[comments["catalog_source_id"].isna()].drop_duplicates(_KEY[:2], keep="last")
    of_match = matches[_KEY].merge(own[[*_KEY, "comment"]], on=_KEY, how="left")["comment"]
    of_source = matches[_KEY[:2]].merge(general[[*_KEY[:2], "comment"]], on=_KEY[:2], how="left")["comment"]
    text = of_match.astype("str").where(of_match.notna(), of_source.astype("str"))
    return text.where(text.notna(), matches["comment"].reset_index(drop=True)).astype("str")
