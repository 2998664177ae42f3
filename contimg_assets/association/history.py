"""Histories that forks copy: the earlier associations of a parent, again under the id of the child."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from contimg_assets.sky.arrays import Hashes, Indices


def copy_fork_history(history: pd.DataFrame, forks: pd.DataFrame) -> pd.DataFrame:
    """Associations of earlier epochs that this epoch's forks take with them.

    Parameters
    ----------
    history : ASSOCIATIONS of all earlier epochs, copied rows included; only the rows of the parents are needed
    forks : schema FORKS; forks with ``copies_history`` false copy nothing

    Returns
    -------
    Rows of schema ASSOCIATIONS with the child as source, ``copied`` true, ordered by source_id and measurement_id.
    """
    copying = forks.loc[forks["copies_history"], ["parent_source_id", "child_source_id"]]
    rows = history.merge(copying, left_on="source_id", right_on="parent_source_id", how="inner")
    rows = rows.assign(source_id=rows["child_source_id"], copied=True)[list(history.columns)]
    return rows.sort_values(["source_id", "measurement_id"], ignore_index=True)


def copied_rows(
    source: Hashes,
    step: Indices,
    forks: Sequence[tuple[int, Hashes, Hashes]],
) -> tuple[Indices, Hashes]:
    """Which of a whole survey's own rows are copied to which fork.

    Parameters
    ----------
    source : source of each association that is not a copy, shape (n,)
    step : epoch of each, counted from 0, shape (n,)
    forks : (step, parents, children) of each epoch with copying forks, in time order

    Returns
    -------
    row : indices into the n rows
    child : the fork that gets a copy of the row
    """
    if not forks:
        return np.empty(0, np.intp), np.empty(0, np.uint64)
    order = np.lexsort((step, source))
    names, first = np.unique(source[order], return_index=True)
    ends = np.append(first[1:], len(order))
    # Rows of a source before a step: from its first row to where (source, step) would be inserted.
    place = np.searchsorted(names, source[order])
    width = int(step.max()) + 1 if len(step) else 1
    key = place * width + step[order]

    fork_step = np.concatenate([np.full(len(children), k) for k, _, children in forks])
    parent = np.concatenate([parents for _, parents, _ in forks])
    child = np.concatenate([children for _, _, children in forks])
    by_child = np.argsort(child)
    fork_step, parent, child = fork_step[by_child], parent[by_child], child[by_child]

    rows, owners = [], []
    ancestor, before, owner = parent, fork_step, child
    while len(ancestor):
        at = np.searchsorted(names, ancestor)
        begin = first[at]
        end = np.minimum(np.searchsorted(key, at * width + before), ends[at])
        count = end - begin
        offset = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        rows.append(order[np.repeat(begin, count) + offset])
        owners.append(np.repeat(owner, count))
        # An ancestor that is a fork itself brought its own parent's rows up to its birth.
        up = np.minimum(np.searchsorted(child, ancestor), len(child) - 1)
        is_fork = child[up] == ancestor
        ancestor, before, owner = parent[up][is_fork], fork_step[up][is_fork], owner[is_fork]
    return np.concatenate(rows), np.concatenate(owners)
