"""Which sources are new: what is asked of the whole database when the question comes.

The stored `sources.is_new` says that earlier images would have shown a source by their thresholds. Whether it is new
depends on more: how often the finder misses bright sources in those images, what reference catalogs (and people) say,
and whether noise could make its only detection. These change with every epoch and catalog, so they are asked of the
candidates only, and only when somebody wants to know.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.config import Variability
from contimg_assets.database import bulk
from contimg_assets.database.limits import read_limits
from contimg_assets.database.models import IN_TOTAL, TABLES, is_evidence, view_of
from contimg_assets.database.tiles import tiling
from contimg_assets.database.writing.image_coverage import StoredCoverage
from contimg_assets.database.writing.stored import read_images, trusted_images
from contimg_assets.schemas.forced import FORCED_PHOTOMETRY
from contimg_assets.sky.arrays import Flags, Floats, Indices
from contimg_assets.variability.finder import bright_snr, share_lost
from contimg_assets.variability.flickering import NO_FLICKERING, Flickering, flickering, tells_of_gaps
from contimg_assets.variability.forced_evidence import chance_constant
from contimg_assets.variability.new_sources import (
    BRIGHT_LIMITS,
    KnownSources,
    catalogs_missed,
    earlier_neighbors,
    false_chances,
    known_before,
    new_sources,
)


def find_new(
    connection: Connection,
    parameters: Variability,
    min_significance: float | None = None,
    since_mjd: float | None = None,
    forced: bool = True,
) -> pd.DataFrame:
    """Candidates with the chance that they are not new.

    Parameters
    ----------
    parameters : the threshold of the source finder
    min_significance : candidates have at least this significance; those of `is_new` if not given
    since_mjd : first detected then or later [MJD]
    forced : whether forced fluxes of earlier images count

    Returns
    -------
    DataFrame: the columns of SOURCES, false_chance, first_flux_mjy_beam, the flux that is judged, and where earlier
    images were measured forced_before_mjy_beam, the mean forced flux there, and its error; the most significant first
    """
    table = TABLES["sources"]
    chosen = table.c.is_new if min_significance is None else table.c.new_significance >= min_significance
    query = sa.select(table).where(chosen).order_by(table.c.new_significance.desc(), table.c.id)
    if since_mjd is not None:
        query = query.where(table.c.first_mjd >= since_mjd)
    sources = bulk.fetch(connection, query)
    if sources.empty:
        return sources.assign(**dict.fromkeys(_ADDED, np.empty(0)))
    first = _first_detections(connection, sources["id"])
    images = trusted_images(read_images(connection), parameters.finder_threshold_sigma)
    lost, often = _losses(connection, images)
    images = images.assign(share_lost=lost)
    judged = new_sources(first, images, 0.0, StoredCoverage(connection, images), often=often)
    # Where the images themselves were measured, what they show goes before what their finders would have detected.
    constant, before, before_err = _forced_before(connection, first)
    in_images = np.where(np.isfinite(constant) & forced, constant, judged["chance_missed"].to_numpy())
    missed = in_images * _catalogs_missed(connection, first)
    known = _seen_before(connection, first, images) | _in_catalogs(connection, first)
    chance = np.where(known, 1.0, false_chances(first, images, missed))
    return sources.assign(
        false_chance=chance,
        first_flux_mjy_beam=first["flux_peak_mjy_beam"].to_numpy(),
        forced_before_mjy_beam=before,
        forced_before_err_mjy_beam=before_err,
    )


def find_new_in_band(
    connection: Connection, parameters: Variability, min_significance: float, since_mjd: float | None = None
) -> pd.DataFrame:
    """Sources that were known in another band when a band showed them for the first time, though it had been looked at.

    Parameters
    ----------
    parameters : the threshold of the source finder
    min_significance : first flux in the band over the rms of the best earlier image of the band, at least
    since_mjd : first detected in the band then or later [MJD]

    Returns
    -------
    DataFrame: the columns of SOURCES, of which first_epoch, first_mjd, new_significance and new_image are those in the
    band; new_in, the band; and the columns that `find_new` adds. Catalogs say nothing of it: that the source is there
    is known. A row a source and band, the most significant first.
    """
    images = trusted_images(read_images(connection), parameters.finder_threshold_sigma)
    missed_first = _looked_at_in_vain(connection, images) if len(set(images["band"])) > 1 else {}
    lost, often = _losses(connection, images) if missed_first else (np.zeros(len(images)), NO_FLICKERING)
    images = images.assign(share_lost=lost)
    parts = []
    for band, since in missed_first.items():
        every = _trusted_detections(connection, since.index.to_numpy(dtype=object))
        first = every[every["band"] == band].drop_duplicates("source_id").set_index("source_id")
        # Simultaneous bands are of one epoch, and show what is new in all of them one after the other.
        before = every[every["band"] != band].join(first[["epoch", "mjd"]].add_suffix("_of_band"), on="source_id")
        earlier = (before["mjd"] < before["mjd_of_band"]) & (before["epoch"] != before["epoch_of_band"])
        known = first.index.isin(before.loc[earlier, "source_id"]) & (first["mjd"] > since.reindex(first.index))
        late = first.index[known if since_mjd is None else known & (first["mjd"] >= since_mjd)]
        first = _first_of(every[every["band"] == band], late.to_series())
        judged = new_sources(first, images, 0.0, StoredCoverage(connection, images), often=often)
        judged = judged.reset_index(drop=True)
        fit = (judged["new_significance"] >= min_significance).to_numpy()
        first, judged = first[fit].reset_index(drop=True), judged[fit].reset_index(drop=True)
        if len(first):
            parts.append(_in_band(connection, first, judged, images).assign(new_in=band))
    if not parts:
        empty = bulk.fetch(connection, sa.select(TABLES["sources"]).where(sa.false()))
        return empty.assign(new_in=pd.Series(dtype=object), **dict.fromkeys(_ADDED, np.empty(0)))
    found = pd.concat(parts, ignore_index=True)
    return found.sort_values(["new_significance", "id", "new_in"], ascending=[False, True, True], ignore_index=True)


def _looked_at_in_vain(connection: Connection, images: pd.DataFrame) -> dict[str, pd.Series]:
    """When each source of several bands was covered and not detected in a band for the first time: MJD by source, by
    band."""
    c = TABLES["sources"].c
    sources = bulk.fetch(connection, sa.select(c.id, c.healpix).where(c.n_bands > 1))
    limits = read_limits(connection, sources).merge(images[["epoch", "image", "band", "mjd"]], on=["epoch", "image"])
    rows = limits.assign(source_id=sources["id"].to_numpy(dtype=object)[limits["source"].to_numpy()])
    return {str(band): one.groupby("source_id")["mjd"].min() for band, one in rows.groupby("band")}


def _in_band(connection: Connection, first: pd.DataFrame, judged: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """Rows of `find_new_in_band` of one band."""
    table = TABLES["sources"]
    ids = bulk.set_of_ids(connection, first["source_id"].to_numpy(dtype=object))
    sources = bulk.fetch(connection, sa.select(table).where(table.c.id.in_(ids)))
    sources = sources.set_index("id").loc[first["source_id"]].rename_axis("id").reset_index()
    constant, before, before_err = _forced_before(connection, first)
    missed = np.where(np.isfinite(constant), constant, judged["chance_missed"].to_numpy(dtype=float))
    return sources.assign(
        first_epoch=first["epoch"],
        first_mjd=first["mjd"],
        new_significance=judged["new_significance"],
        new_image=judged["new_image"],
        false_chance=false_chances(first, images, missed),
        first_flux_mjy_beam=first["flux_peak_mjy_beam"],
        forced_before_mjy_beam=before,
        forced_before_err_mjy_beam=before_err,
    )


_ADDED = ("false_chance", "first_flux_mjy_beam", "forced_before_mjy_beam", "forced_before_err_mjy_beam")


def _forced_before(connection: Connection, first: pd.DataFrame) -> tuple[Floats, Floats, Floats]:
    """`chance_constant` of each source by its forced fluxes in trusted images of earlier epochs and of its band."""
    view = view_of(FORCED_PHOTOMETRY)
    names = ("epoch", "band", "mjd", "flux_peak_corr_mjy_beam", "flux_peak_err_corr_mjy_beam", "flux_scale_err")
    ids = bulk.set_of_ids(connection, first["source_id"].to_numpy(dtype=object))
    query = sa.select(view.c.position, *(view.c[name] for name in names))
    query = query.where(view.c.position.in_(ids), view.c.trusted, is_evidence(view))
    rows = bulk.fetch(connection, query)
    owner = pd.Index(first["source_id"]).get_indexer(pd.Index(rows["position"]))
    seen = first.iloc[owner].reset_index(drop=True)
    earlier = (rows["mjd"] < seen["mjd"]) & (rows["epoch"] != seen["epoch"]) & (rows["band"] == seen["band"])
    rows, owner = rows[earlier], owner[earlier.to_numpy(dtype=bool)]
    flux, err, scale = (rows[name].to_numpy(dtype=float) for name in names[3:])
    return chance_constant(first, owner, flux, np.hypot(err, scale * np.abs(flux)))


def _first_detections(connection: Connection, sources: pd.Series) -> pd.DataFrame:
    """First detection of each source in an image that is trusted, and in how many epochs such images detect it.

    Returns
    -------
    DataFrame, in the order of the sources: source_id, epoch, image, band, mjd, ra_deg, dec_deg, flux_peak_mjy_beam
    (the integrated flux where there is no peak) and its error with the scale's own, snr, n_detected; missing values
    where no trusted image detects it
    """
    return _first_of(_trusted_detections(connection, sources.to_numpy(dtype=object)), sources)


def _trusted_detections(connection: Connection, sources: npt.NDArray[np.object_]) -> pd.DataFrame:
    """Detections of sources in trusted images, in time order."""
    m, a = TABLES["measurements"], TABLES["associations"]
    names = ("epoch", "image", "band", "mjd", "measurement_id", "flux_peak_corr_mjy_beam",
             "flux_peak_err_corr_mjy_beam", "flux_int_corr_mjy", "flux_int_err_corr_mjy", "flux_scale_err",
             "snr")  # fmt: skip
    query = (
        sa.select(
            a.c.source_id,
            *(m.c[name] for name in names),
            m.c.ra_corr_deg.label("ra_deg"),
            m.c.dec_corr_deg.label("dec_deg"),
        )
        .select_from(a)
        .join(m, tiling(connection).same_measurement())
        .where(a.c.source_id.in_(bulk.set_of_ids(connection, sources)))
        .where(sa.not_(m.c.forced), m.c.trusted)
    )
    return bulk.fetch(connection, query).sort_values(["source_id", "mjd", "measurement_id"], ignore_index=True)


def _first_of(rows: pd.DataFrame, sources: pd.Series) -> pd.DataFrame:
    """The first of each source's detections, see `_first_detections`."""
    n_detected = rows.groupby("source_id")["epoch"].nunique()
    rows = rows.drop_duplicates("source_id").set_index("source_id").reindex(sources)
    has_peak = rows["flux_peak_corr_mjy_beam"].notna().to_numpy()
    flux, err = (
        np.where(has_peak, *(rows[name].to_numpy(dtype=float) for name in pair))
        for pair in (
            ("flux_peak_corr_mjy_beam", "flux_int_corr_mjy"),
            ("flux_peak_err_corr_mjy_beam", "flux_int_err_corr_mjy"),
        )
    )
    rows = rows.assign(
        flux_peak_mjy_beam=flux,
        flux_peak_err_mjy_beam=np.hypot(err, rows["flux_scale_err"].to_numpy(dtype=float) * flux),
        n_detected=n_detected.reindex(sources).fillna(0).to_numpy(dtype=np.int64),
    )
    return rows.rename_axis("source_id").reset_index()


def _seen_before(connection: Connection, first: pd.DataFrame, images: pd.DataFrame) -> Flags:
    """Whether another source that was detected earlier lies within the beam: they are one, or their light is."""
    c = TABLES["sources"].c
    others = bulk.fetch(connection, sa.select(c.id, c.ra_deg, c.dec_deg, c.first_mjd, c.first_epoch).where(IN_TOTAL))
    beam = images.set_index(["epoch", "image"])["bmaj_arcsec"]
    keys = pd.MultiIndex.from_frame(first[["epoch", "image"]])
    return earlier_neighbors(first.assign(bmaj_arcsec=beam.reindex(keys).to_numpy()), others)


def _losses(connection: Connection, images: pd.DataFrame) -> tuple[Floats, Flickering]:
    """Share of bright sources that the finder of each image misses, and those that it misses again and again."""
    c = TABLES["sources"].c
    flux = sa.func.coalesce(c.flux_peak_mjy_beam, c.flux_int_mjy).label("flux")
    established = sa.and_(*_established()).label("established")
    columns = (c.id, c.healpix, c.band, c.n_epochs, c.first_mjd, c.last_mjd, flux, _SNR.label("snr"), established)
    sources = bulk.fetch(connection, sa.select(*columns).where(c.n_epochs >= 2, IN_TOTAL, c.n_limits > 0))
    limits = read_limits(connection, sources)
    limits = limits.merge(images[["epoch", "image", "band", "mjd"]], on=["epoch", "image"])
    known = sources.iloc[limits["source"].to_numpy()].reset_index(drop=True)
    bright = (known["flux"] >= BRIGHT_LIMITS * limits["upper_limit_mjy_beam"]) & (known["band"] == limits["band"])
    limits, known = limits[bright], known[bright]
    counts = limits[known["established"].astype(bool)].groupby(["epoch", "image"]).size()
    keys = pd.MultiIndex.from_frame(images[["epoch", "image"]])
    missed = np.asarray(counts.reindex(keys).fillna(0), dtype=np.float64)
    lost = share_lost(missed, missed + images["n_bright"].fillna(0.0).to_numpy(dtype=float))
    between = (limits["mjd"] > known["first_mjd"]) & (limits["mjd"] < known["last_mjd"])
    n_gaps, n_beyond = (
        limits.loc[chosen, "source"].value_counts().reindex(range(len(sources)), fill_value=0).to_numpy(np.int64)
        for chosen in (between, ~between)
    )
    least_snr = bright_snr(float(images["threshold_snr"].median()))
    use = (sources["snr"].to_numpy(dtype=float) >= least_snr) & tells_of_gaps(n_gaps, n_beyond)
    return lost, _often_missed(connection, (n_gaps + n_beyond)[use], sources["n_epochs"].to_numpy()[use], least_snr)


# Of a source's detections, in the middle.
_SNR = 0.5 * (TABLES["sources"].c.min_snr + TABLES["sources"].c.max_snr)


def _often_missed(connection: Connection, missed: Indices, found: Indices, least_snr: float) -> Flickering:
    """See `flickering`; of sources with limits, and of the others, which were never missed."""
    c = TABLES["sources"].c
    never = sa.select(c.n_epochs, sa.func.count()).where(c.n_epochs >= 2, IN_TOTAL, c.n_limits == 0, least_snr <= _SNR)
    counted = connection.execute(never.group_by(c.n_epochs).order_by(c.n_epochs)).all()
    epochs, numbers = np.array(counted, np.float64).reshape(-1, 2).T
    missed_of_all = np.concatenate([missed, np.zeros(len(epochs))])
    return flickering(missed_of_all, np.concatenate([found, epochs]), np.concatenate([np.ones(len(found)), numbers]))


def _established() -> tuple[sa.ColumnElement[bool], ...]:
    """Sources that are there for certain and nearly always: transients would pass for sources that a finder misses."""
    c = TABLES["sources"].c
    return (c.n_epochs >= 2, c.n_epochs > 2 * c.n_limits, IN_TOTAL)


def _in_catalogs(connection: Connection, first: pd.DataFrame) -> Flags:
    """Whether a reference catalog has each source at a flux that agrees, shape (n_sources,)."""
    s, match, catalog = TABLES["sources"], TABLES["cross_matches"], TABLES["reference_catalogs"]
    columns = (
        match.c.source_id,
        match.c.catalog_type,
        match.c.probability,
        match.c.flux_ratio,
        match.c.match_quality,
        s.c.flux_int_mjy,
        (s.c.freq_mhz / catalog.c.freq_mhz).label("freq_ratio"),
    )
    candidates = (
        sa.select(*columns)
        .join(s, s.c.id == match.c.source_id)
        .join(catalog, catalog.c.name == match.c.catalog_type)
        .where(match.c.source_id.in_(bulk.set_of_ids(connection, first["source_id"].to_numpy(dtype=object))))
    )
    return known_before(first, bulk.fetch(connection, candidates))


def _catalogs_missed(connection: Connection, first: pd.DataFrame) -> Floats:
    """The chance that all reference catalogs lack a constant source of the first flux, shape (n_sources,)."""
    s, match, catalog = TABLES["sources"], TABLES["cross_matches"], TABLES["reference_catalogs"]
    flux = sa.func.coalesce(s.c.flux_peak_mjy_beam, s.c.flux_int_mjy)
    names = connection.execute(sa.select(catalog.c.name).order_by(catalog.c.name)).scalars().all()
    if not names:
        return np.ones(len(first))
    sample = bulk.fetch(
        connection, sa.select(s.c.id, s.c.ra_deg, s.c.dec_deg, flux.label("flux")).where(*_established())
    )
    listed = sa.select(match.c.source_id).where(match.c.rank == 1, match.c.probability >= 0.5)
    in_catalog = {
        name: sample["id"]
        .isin(connection.execute(listed.where(match.c.catalog_type == name)).scalars().all())
        .to_numpy()
        for name in names
    }
    ra, dec, sample_flux = (sample[name].to_numpy(dtype=float) for name in ("ra_deg", "dec_deg", "flux"))
    return catalogs_missed(first, KnownSources(ra, dec, sample_flux, in_catalog))
