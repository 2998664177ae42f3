"""What of a survey needs eyes: images that are refused or left as they are, fields with few ties, what cannot be given.

`verdicts`, `findings` and `headline` are plain functions of tables; `look` reads what they need of a project. The
command line and the check `nothing_needs_eyes` show the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy

from contimg_assets.config import Bands, Config, Corrections
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.survey_summary import NEEDED, Listed, image_corrections, listed, state_version
from contimg_assets.files import replace_text
from contimg_assets.ingest.bands import divided
from contimg_assets.pipeline.stages import PRODUCTS
from contimg_assets.pipeline.verdicts import Verdict
from contimg_assets.sky.arrays import Floats, Indices, Values
from contimg_assets.sky.sphere import arc, distance, pairs_within, unit_vectors
from contimg_assets.variability.error_evidence import GOOD_ETA

# Pointings closer than this share of the field's radius are of one field.
_SAME_FIELD = 0.25
# Of so few the separations of all pairs take less time than importing scipy's trees does.
_FEW_POINTINGS = 600
# A field whose images have fewer than this many times the least number of matches is tied by few.
_FEW = 1.5
# More sources than this share do not vary in any survey: errors are too small.
_MANY_VARY = 0.1
_COLUMNS = ["subject", "what", "why", "cure"]

Finding = tuple[str, str, str, str]
"""(subject, what, why, cure)"""


@dataclass(frozen=True)
class Look:
    """What a look at the products found.

    Attributes
    ----------
    images : see `image_corrections`, with ``verdict``
    listed : how many sources lists name
    findings : see `findings`
    """

    images: pd.DataFrame
    listed: Listed
    findings: pd.DataFrame

    @property
    def headline(self) -> str:
        """One line that says how things are."""
        return headline(self.images, self.listed)


def look(config: Config, database: ProductsDatabase) -> Look | None:
    """What of the products needs eyes; None where nothing was written yet, or only by an older version."""
    if not database.holds(*NEEDED):
        return None
    images = image_corrections(database)
    if images.empty:
        return None
    images = images.assign(verdict=verdicts(images))
    counts = _listed(config, database)
    return Look(images, counts, findings(images, counts, config))


def verdicts(images: pd.DataFrame) -> Values:
    """What is thought of each image, shape (n,).

    'refused': what was measured of it is wrong, and it takes no part in anything; 'not corrected': something that was
    asked for is not applied; else 'good'.

    Parameters
    ----------
    images : trusted, applied
    """
    trusted, applied = (images[name].to_numpy(dtype=bool) for name in ("trusted", "applied"))
    words = [str(Verdict.REFUSED), str(Verdict.UNCORRECTED)]
    return np.select([~trusted, ~applied], words, str(Verdict.GOOD)).astype(object)


def fields(images: pd.DataFrame) -> Indices:
    """Number of the field of each image, shape (n,): pointings near each other are of one field.

    Parameters
    ----------
    images : ra_deg, dec_deg, radius_deg
    """
    # Thousands of images of a survey point to a few places, again and again.
    by_pointing = images.groupby(["ra_deg", "dec_deg", "radius_deg"], sort=False, dropna=False)
    pointings = by_pointing.head(1)
    return _fields_of_pointings(pointings)[by_pointing.ngroup().to_numpy(np.intp)]


def _fields_of_pointings(pointings: pd.DataFrame) -> Indices:
    vectors = unit_vectors(pointings["ra_deg"], pointings["dec_deg"])
    near = _SAME_FIELD * 3600.0 * pointings["radius_deg"].to_numpy(dtype=float)
    return fields_of_few(vectors, near) if len(pointings) <= _FEW_POINTINGS else fields_of_many(vectors, near)


def fields_of_many(vectors: Floats, near_arcsec: Floats) -> Indices:
    """Number of the field of each pointing, shape (n,); pointings of one field are nearer than both allow."""
    i, j, apart = pairs_within(vectors, vectors, float(near_arcsec.max(initial=0.0)))
    same = apart <= np.minimum(near_arcsec[i], near_arcsec[j])
    n = len(vectors)
    links = scipy.sparse.coo_array((np.ones(int(same.sum()), bool), (i[same], j[same])), shape=(n, n))
    return np.asarray(scipy.sparse.csgraph.connected_components(links, directed=False)[1], np.intp)


def fields_of_few(vectors: Floats, near_arcsec: Floats) -> Indices:
    """As `fields_of_many`, without scipy's trees and graphs: to import those is a sixth of a `contimg status`."""
    n = len(vectors)
    same = arc(distance(vectors[:, None], vectors[None])) <= np.minimum.outer(near_arcsec, near_arcsec)
    before, lowest = np.full(n, -1), np.arange(n)
    while (lowest != before).any():
        before, lowest = lowest, np.minimum(lowest, np.where(same, lowest, n).min(axis=1, initial=n))
    return np.unique(lowest, return_inverse=True)[1].astype(np.intp)


def findings(images: pd.DataFrame, counts: Listed, config: Config) -> pd.DataFrame:
    """What needs eyes, the gravest first.

    Parameters
    ----------
    images : epoch, image, ra_deg, dec_deg, radius_deg, verdict, and the columns of CORRECTIONS
    counts : how many sources lists name

    Returns
    -------
    DataFrame: subject, what (is the matter with it), why, cure; texts without a full stop
    """
    rows = [
        *_refused(images),
        *_without(counts, config),
        *(_uncorrected(images, config.corrections) if config.catalogs else ()),
        *(_few_ties(images, config.corrections) if config.catalogs else ()),
        *_doubtful_errors(counts),
        *_divided_bands(images, config.bands),
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def headline(images: pd.DataFrame, counts: Listed) -> str:
    """How things are, in one line: images by verdict, and what lists name with what of it is expected to be chance."""
    verdict = images["verdict"].value_counts()
    parts = [f"{verdict[word]} {word}" for word in Verdict if verdict.get(word, 0)]
    chance = f", {_about(counts.n_variables_false)} by chance" if counts.n_variables else ""
    new_chance = ""
    if counts.n_new and counts.n_new_false is not None:
        new_chance = f", {_about(counts.n_new_false)} by chance"
    return (
        f"{len(images)} image(s): {', '.join(parts)}. {counts.n_sources} sources; {counts.n_variables} of "
        f"{counts.n_judged} with two or more fluxes vary{chance}; {counts.n_new} new{new_chance}."
    )


def _about(n: float) -> str:
    return f"about {n:.0f}" if n >= 1 else "less than 1"


def _refused(images: pd.DataFrame) -> Iterator[Finding]:
    for row in images[images["verdict"] == Verdict.REFUSED].itertuples(index=False):
        yield (
            f"image {row.image} of epoch {row.epoch}",
            "refused: takes no part in light curves, variables, new sources, limits and later ties",
            str(row.reason),
            "look at the image and its catalog; deliver it mended, or let it be",
        )


def _without(counts: Listed, config: Config) -> Iterator[Finding]:
    """What this survey cannot give, and what it lacks for that."""
    if not config.catalogs:
        yield (
            "reference catalogs",
            "positions and fluxes are as delivered, errors between images with them; sources have no counterparts",
            "no catalog is configured",
            "`contimg catalog fetch` or `contimg catalog add`",
        )
    for name, catalog in config.catalogs.items():
        # Stars and pulsars are few among radio sources.
        rare = catalog.positions_at_mjd is not None or catalog.preset == "psrcat"
        if counts.matched is not None and name not in counts.matched and not rare:
            yield (
                f"catalog {name}",
                "no source has a counterpart in it",
                "it is of another part of the sky or in another frame, its positions are off, or it is too shallow",
                f"`contimg inspect` its file, or `contimg catalog remove {name}`",
            )
    if not counts.has_peaks:
        yield (
            "peak fluxes",
            "light curves, variables and new sources are judged by integrated fluxes",
            "no measurement has a peak flux density",
            "deliver flux_peak_mjy_beam where the source finder knows it",
        )
    if not counts.n_judged:
        yield (
            "light curves",
            "nothing can be seen to vary yet",
            "no source has two fluxes",
            "deliver another epoch of the same sky",
        )


def _uncorrected(images: pd.DataFrame, parameters: Corrections) -> Iterator[Finding]:
    """Images that are left as they are, those of a field together."""
    # Where there is none, as in most surveys, nobody waits for the search of fields.
    if not (images["verdict"] == Verdict.UNCORRECTED).any():
        return
    rows = images.assign(field=fields(images))
    rows = rows[rows["verdict"] == Verdict.UNCORRECTED]
    lacks = np.where(rows["position_applied"].astype(bool), "", "positions ") + np.where(
        rows["flux_applied"].astype(bool), "", "fluxes"
    )
    for (_, what), group in rows.groupby(["field", np.char.strip(lacks.astype(str))], sort=False):
        reasons = group["reason"].fillna("").astype(str)
        few = reasons.str.contains("usable matches").any()
        yield (
            _named(group),
            f"{str(what).replace(' ', ' and ')} are not corrected",
            reasons.iloc[-1] or "not measured",
            f"a deeper catalog, or a smaller corrections.min_matches ({parameters.min_matches})"
            if few
            else "`contimg images --verdict 'not corrected'` shows the numbers",
        )


def _few_ties(images: pd.DataFrame, parameters: Corrections) -> Iterator[Finding]:
    """Fields whose corrections rest on hardly more matches than are needed."""
    rows = images[images["verdict"] == Verdict.GOOD]
    enough = _FEW * parameters.min_matches
    # No median of a field is below the least number of all.
    if not (rows[["n_position", "n_flux"]] < enough).to_numpy(dtype=bool).any():
        return
    for _, group in rows.groupby(fields(rows), sort=False):
        n = group[["n_position", "n_flux"]].median().set_axis(["positions", "fluxes"])
        few = n[(n > 0) & (n < enough)]
        if len(few):
            yield (
                _named(group),
                "few ties: "
                + " and ".join(f"{what} rest on {count:.0f} matches an image" for what, count in few.items()),
                f"{parameters.min_matches} are needed at least",
                "a deeper catalog ties them better",
            )


def _doubtful_errors(counts: Listed) -> Iterator[Finding]:
    eta, (low, high) = counts.median_eta, GOOD_ETA
    if eta is not None and not low <= eta <= high:
        yield (
            "errors of fluxes",
            f"constant sources scatter {np.sqrt(eta):.2f} times as much as their errors say",
            f"the median eta of those not listed is {eta:.2f} of what it should be; {low} to {high} are good",
            "look at the errors of the finder and at the images' scales; p-values are not to be believed as they are",
        )
    share = counts.n_variables / max(counts.n_judged, 1)
    if share > _MANY_VARY:
        yield (
            "variables",
            f"{share:.0%} of the sources with two or more fluxes are called variable",
            "errors of fluxes are smaller than what constant sources scatter by",
            "look at the sources' errors and the images' scales before you believe the list",
        )


def _divided_bands(images: pd.DataFrame, bands: Bands) -> Iterator[Finding]:
    """Frequencies nearly alike on both sides of an edge: what may be meant to be one band."""
    for low, high in divided(images["freq_mhz"], bands) if "freq_mhz" in images else ():
        yield (
            f"images at {low:g} and {high:g} MHz",
            "lie in different bands: their fluxes are not compared",
            "an edge of the bands lies between them, though they differ by less than 15 %",
            f"`bands.ranges_mhz` with [{low:g}, {high:g}], if they are meant to be one band",
        )


def _named(group: pd.DataFrame) -> str:
    """The images of a field, by the name of one of them, and where they point."""
    first = group.iloc[-1]
    if len(group) == 1:
        return f"image {first['image']} of epoch {first['epoch']}"
    return f"{len(group)} images at RA {first['ra_deg']:.2f} Dec {first['dec_deg']:+.2f}, such as {first['image']}"


def _listed(config: Config, database: ProductsDatabase) -> Listed:
    """How many sources lists name: counted once for each state of the database, and kept in the store."""
    version = f"{PRODUCTS.code_version(config)} {state_version(database, config.variability)}"
    kept = config.store / "listed_sources.json"
    known = _read(kept)
    if known.get("version") != version:
        known = {"version": version, "listed": asdict(listed(database, config.variability))}
        # Who may only read counts each time.
        with suppress(OSError):
            replace_text(kept, json.dumps(known))
    return Listed(**known["listed"])


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        Listed(**content["listed"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return dict(content)
