"""A whole list of epochs at once, in memory: `associate_measurements`, for scripts and notebooks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from contimg_assets.association.fold import FoldResult, associations_table, fold, forks_table, relations_table
from contimg_assets.association.history import copied_rows
from contimg_assets.association.observation import REQUIRED
from contimg_assets.association.state import FoldState
from contimg_assets.config import Association, check_association
from contimg_assets.errors import InputError
from contimg_assets.identity.ids import hashes_of, text_of
from contimg_assets.schemas.association import ALIGNMENT
from contimg_assets.schemas.tables import AngleLike, TableLike, as_arcsec, as_frame

Method = Literal["basic", "advanced", "deruiter", "optimal"]


@dataclass(frozen=True)
class AssociationResult:
    """Sources of a list of epochs.

    Attributes
    ----------
    associations : DataFrame
        Which source each measurement belongs to: ``source_id``, ``measurement_id``, ``epoch``, ``separation_arcsec``,
        ``de_ruiter``, ``copied`` (by a fork from its parent).
    sources : DataFrame
        ``source_id``, ``ra_deg``, ``dec_deg``, ``uncertainty_ew_arcsec``, ``uncertainty_ns_arcsec``,
        ``n_measurements``; positions are weighted means, with the shifts of images taken out where they were aligned.
    relations : DataFrame
        Sources that competed for a measurement: ``from_source_id``, ``to_source_id``, ``kind``; both directions, each
        pair of sources once for each kind.
    forks : DataFrame
        Sources that split off another: ``parent_source_id``, ``child_source_id``, ``measurement_id``,
        ``copies_history``.
    alignment : DataFrame
        One row an ``epoch`` and ``image``, with its shift.
    diagnostics : DataFrame
        One row an epoch: counts, and the distribution of de Ruiter radii.
    state : FoldState
        What to give `fold` with the next epoch.
    """

    associations: pd.DataFrame
    sources: pd.DataFrame
    relations: pd.DataFrame
    forks: pd.DataFrame
    alignment: pd.DataFrame
    diagnostics: pd.DataFrame
    state: FoldState


def associate_measurements(
    measurements_list: Iterable[TableLike],
    association_radius: AngleLike = "5arcsec",
    method: Method = "optimal",
    *,
    parameters: Association | None = None,
    **overrides: object,
) -> AssociationResult:
    """Find the sources that measurements of several epochs are measurements of.

    Parameters
    ----------
    measurements_list : list of DataFrame, Table, QTable or pyarrow.Table
        One table an epoch, in time order, without duplicates: ``measurement_id`` (text or integer, unique in all),
        ``ra_deg``, ``dec_deg``, ``uncertainty_ew_arcsec``, ``uncertainty_ns_arcsec`` (1 sigma on the sky, > 0);
        optional ``image`` (for the alignment of images), ``epoch`` (else 0, 1, ...), ``snr``, ``flux_peak_mjy_beam``
        (helps "optimal" where sources compete). Tables may be empty and their rows in any order. Columns of astropy
        that state another unit are converted.
    association_radius : Angle, Quantity or str
        Largest separation for "basic" and "advanced". "deruiter" and "optimal" reach as far as the errors say
        (``de_ruiter_radius``), up to ``max_separation_arcsec`` (30 arcsec if not given), whatever this is.
    method : {"optimal", "basic", "advanced", "deruiter"}
        "basic" takes the nearest source, "advanced" all within the radius, "deruiter" all within the de Ruiter radius,
        "optimal" the assignment of least total cost, one to one.
    parameters : contimg_assets.config.Association, optional
        All parameters at once; their radius and method are replaced by the two above.
    **overrides : object
        Single parameters of `contimg_assets.config.Association`, by name: ``de_ruiter_radius=5.68``,
        ``max_separation_arcsec=30``, ``align_images="never"``, ...

    Returns
    -------
    AssociationResult
        Tables ``associations``, ``sources``, ``relations``, ``forks``, ``alignment``, ``diagnostics``, and the
        ``state`` to fold the next epoch into with `fold`.

    Raises
    ------
    InputError
        If a position or error is not usable, a measurement_id comes twice, in one epoch or in two, an element of the
        list is no table, an astropy column has a unit that does not fit, or the radius is no angle.
    ConfigError
        If the method or another parameter is unknown, or its value not allowed.

    References
    ----------
    de Ruiter, Willis & Arp 1977, A&AS 28, 211, eq. 2; Swinbank et al. 2015, A&C 11, 25 ("basic", "advanced",
    "deruiter").

    Examples
    --------
    >>> from astropy.table import QTable
    >>> import astropy.units as u
    >>> import contimg_assets as ca
    >>> def epoch(names, ra):
    ...     n = len(names)
    ...     return QTable({"measurement_id": names, "ra": ra * u.deg, "dec": [16.0] * n * u.deg,
    ...                    "uncertainty_ew": [0.5] * n * u.arcsec, "uncertainty_ns": [0.5] * n * u.arcsec})
    >>> found = ca.associate_measurements([epoch(["a1", "b1"], [10.0, 11.0]), epoch(["b2", "c2"], [11.0001, 12.0])])
    >>> found.sources["n_measurements"].sort_values().tolist()
    [1, 1, 2]
    >>> source = found.associations.set_index("measurement_id")["source_id"]
    >>> bool(source["b1"] == source["b2"])
    True
    """
    values = (parameters or Association()).model_dump()
    values |= {"radius_arcsec": _arcsec(association_radius), "method": method} | overrides
    chosen = check_association(values)
    if hasattr(measurements_list, "columns"):
        raise InputError("measurements_list is one table; give a list of tables, one an epoch, in time order")
    tables = [_with_epoch(table, k) for k, table in enumerate(measurements_list)]
    state, results = FoldState.empty(), list[FoldResult]()
    for k, table in enumerate(tables):
        try:
            result = fold(state, table, chosen)
        except InputError as error:
            raise InputError(f"table {k} of the list: {error}") from error
        state = result.state
        results.append(result)
    _check_unique(tables, results)
    return AssociationResult(
        _associations(results),
        state.sources(),
        relations_table(results).drop_duplicates(ignore_index=True),
        forks_table(results),
        _alignment(tables, results),
        pd.DataFrame([result.diagnostics for result in results]),
        state,
    )


def _arcsec(radius: AngleLike) -> float:
    wrong = f"association_radius {radius!r} is no angle; give one with its unit, such as Angle('5arcsec')"
    if not (isinstance(radius, str) or hasattr(radius, "unit")):
        raise InputError(wrong)
    try:
        value = as_arcsec(radius, "association_radius")
    except InputError as error:
        raise InputError(wrong) from error
    if np.isnan(value):
        raise InputError(wrong)
    return value


def _with_epoch(table: TableLike, k: int) -> pd.DataFrame:
    frame = as_frame(table, f"table {k} of the list")
    if not len(frame.columns):
        return pd.DataFrame({name: [] for name in REQUIRED})
    return frame if "epoch" in frame.columns else frame.assign(epoch=k)


def _check_unique(tables: list[pd.DataFrame], results: list[FoldResult]) -> None:
    numbers = np.sort(np.concatenate([result.rows.measurement for result in results] or [np.empty(0, np.uint64)]))
    repeated = numbers[1:][numbers[1:] == numbers[:-1]]
    if not len(repeated):
        return
    where = [k for k, result in enumerate(results) if repeated[0] in result.rows.measurement]
    ids = tables[where[0]]["measurement_id"]
    name = ids.iloc[int(np.flatnonzero(hashes_of(ids) == repeated[0])[0])]
    raise InputError(
        f"measurement_id {name} comes more than once, in tables {', '.join(map(str, where))} of the list: "
        "give every measurement its own id"
    )


def _associations(results: list[FoldResult]) -> pd.DataFrame:
    own = associations_table(results)
    copying = [
        (k, result.rows.parent, result.rows.child)
        for k, result in enumerate(results)
        if result.rows.copies_history and len(result.rows.child)
    ]
    if not copying:
        return own
    step = np.repeat(np.arange(len(results)), [len(result.rows.source) for result in results])
    rows, child = copied_rows(np.concatenate([result.rows.source for result in results]), step, copying)
    copies = own.iloc[rows].assign(source_id=text_of(child).array, copied=True)
    return pd.concat([own, copies], ignore_index=True)


def _alignment(tables: list[pd.DataFrame], results: list[FoldResult]) -> pd.DataFrame:
    frames = [
        result.alignment.assign(epoch=table["epoch"].iloc[0])
        for table, result in zip(tables, results, strict=True)
        if len(result.alignment)
    ]
    return pd.concat(frames, ignore_index=True) if frames else ALIGNMENT.empty().assign(epoch=[])
