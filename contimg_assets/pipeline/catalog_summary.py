"""How the matching of images to reference catalogs went, over all epochs."""

from __future__ import annotations

import pandas as pd

from contimg_assets.pipeline.inputs import epochs_in_time_order
from contimg_assets.pipeline.store import EpochStore
from contimg_assets.schemas.matches import MATCH_SUMMARY

_STAGE = "catalog_matches"
_COLUMNS = ["image", "catalog", "n_covered", "n_matched", "n_within_radius", "n_false", "n_false_best", "radius_arcsec"]


def no_summaries() -> pd.DataFrame:
    """What `match_summaries` gives where there are none."""
    return pd.DataFrame(columns=[*_COLUMNS, "epoch"]).astype(dict.fromkeys(_COLUMNS[2:], float))


def match_summaries(store: EpochStore) -> pd.DataFrame:
    """MATCH_SUMMARY of all epochs in the store, with the epoch, in time order; no rows where there are none."""
    store = store.at_a_glance()
    epochs = [epoch for epoch in epochs_in_time_order(store) if store.record(_STAGE, epoch) is not None]
    parts = [store.read(_STAGE, epoch, MATCH_SUMMARY.name)[_COLUMNS].assign(epoch=epoch) for epoch in epochs]
    return pd.concat(parts, ignore_index=True) if parts else no_summaries()


def by_catalog(summaries: pd.DataFrame) -> pd.DataFrame:
    """Shares of measurements that catalogs have, and of matches that are false, in a row a catalog.

    Parameters
    ----------
    summaries : of `match_summaries`

    Returns
    -------
    DataFrame: catalog, n_images, n_covered, n_matched, matched_fraction, radius_arcsec (median), n_within_radius,
        n_false, false_match_rate: share of the matches within the radius that chance explains
    """
    names = ["n_covered", "n_matched", "n_within_radius", "n_false"]
    grouped = summaries.astype(dict.fromkeys(names, float)).groupby("catalog", sort=True)
    found = grouped[names].sum().join(grouped.size().rename("n_images"))
    found = found.join(grouped["radius_arcsec"].median()).reset_index()
    found["matched_fraction"] = found["n_matched"] / found["n_covered"].where(found["n_covered"] > 0)
    found["false_match_rate"] = found["n_false"] / found["n_within_radius"].where(found["n_within_radius"] > 0)
    columns = ["catalog", "n_images", "n_covered", "n_matched", "matched_fraction", "radius_arcsec"]
    counts = ["n_images", "n_covered", "n_matched", "n_within_radius"]
    return found.astype(dict.fromkeys(counts, int))[[*columns, "n_within_radius", "n_false", "false_match_rate"]]


def by_epoch(summaries: pd.DataFrame) -> pd.DataFrame:
    """Matched fraction of each epoch and catalog: epoch, catalog, matched_fraction, in the order of the epochs."""
    grouped = summaries.groupby(["epoch", "catalog"], sort=False)[["n_covered", "n_matched"]].sum().reset_index()
    fraction = grouped["n_matched"] / grouped["n_covered"].where(grouped["n_covered"] > 0)
    return grouped[["epoch", "catalog"]].assign(matched_fraction=fraction)
