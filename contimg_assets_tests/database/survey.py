"""Epochs as the stages would deliver them, with known sources: enough for the database, no files and no association."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd

from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.database.epoch_products import EpochProducts
from contimg_assets.identity.ids import from_hex, measurement_ids, mix, source_ids, to_hex
from contimg_assets.schemas.association import ASSOCIATIONS, RELATIONS
from contimg_assets.schemas.corrections import CORRECTED_MEASUREMENTS, CORRECTIONS
from contimg_assets.schemas.detections import IMAGES
from contimg_assets.sky.cells import index_cells
from contimg_assets.sky.sphere import displaced


def filled(schema, n: int, **columns) -> pd.DataFrame:
    """A table of n rows: the given columns, and something of the right type in those that may not be missing."""
    table = {}
    for column in schema:
        if column.name in columns:
            table[column.name] = columns[column.name]
        elif column.nullable:
            table[column.name] = np.full(n, None, dtype=object) if str(column.type) == "string" else np.full(n, np.nan)
        elif str(column.type) == "string":
            table[column.name] = np.full(n, "x", dtype=object)
        elif str(column.type) == "bool":
            table[column.name] = np.zeros(n, dtype=bool)
        else:
            low = column.minimum if column.minimum is not None else 0
            table[column.name] = np.full(n, low, dtype=np.int64 if str(column.type) == "int64" else float)
    return pd.DataFrame(table, index=np.arange(n))


class Survey:
    """Sources on a patch across RA 0, seen again and again.

    Parameters
    ----------
    n_sources, n_epochs : how many
    detected : share of the sources that an epoch detects
    n_images : images an epoch; each sees the whole patch, each source is detected in one of them
    """

    def __init__(
        self,
        n_sources: int = 40,
        n_epochs: int = 4,
        detected: float = 0.8,
        n_images: int = 1,
        seed: int = 1,
        dec: float = 16.0,
        prefix: str = "",
    ) -> None:
        rng = np.random.default_rng(seed)
        self.names = [
            f"2026-01-{25 + e // 24:02d}T{e % 24:02d}00" if n_epochs < 100 else f"e{e:04d}" for e in range(n_epochs)
        ]
        self.names = [prefix + name for name in self.names]
        self.ra, self.dec = displaced(
            np.zeros(n_sources),
            np.full(n_sources, dec),
            rng.uniform(-3600, 3600, n_sources),
            rng.uniform(-3600, 3600, n_sources),
        )
        self.flux = 10.0 * rng.pareto(1.5, n_sources) + 10.0
        self.centre = (0.0, dec)
        self.seen = rng.uniform(size=(n_epochs, n_sources)) < detected
        self.flux_seen = self.flux * rng.lognormal(0, 0.05, (n_epochs, n_sources)) + rng.normal(
            size=(n_epochs, n_sources)
        )
        self.shift = rng.normal(scale=0.5, size=(n_epochs, 2, n_sources))
        self.image_of = rng.integers(0, n_images, size=(n_epochs, n_sources))
        self.n_images = n_images

    def epoch(
        self, number: int, skip: frozenset[int] = frozenset(), flux_factor: float = 1.0, version: str = "1"
    ) -> EpochProducts:
        """The products of one epoch, given that the epochs of ``skip`` do not exist (births move to others)."""
        name = self.names[number]
        member = np.flatnonzero(self.seen[number])
        n = len(member)
        ra, dec = displaced(self.ra[member], self.dec[member], *self.shift[number][:, member])
        images = [f"{name}_{i:02d}" for i in range(self.n_images)]
        image = np.asarray(images, dtype=object)[self.image_of[number][member]]
        flux = self.flux_seen[number][member] * flux_factor
        ids = self.measurement_ids(number)[member]
        mjd = 61065.0 + number
        columns = {
            "measurement_id": ids, "image": image, "component_id": member.astype(str).astype(object),
            "ra_deg": ra, "dec_deg": dec,
            "line": np.arange(1, n + 1),
            "ra_corr_deg": ra, "dec_corr_deg": dec, "mjd": np.full(n, mjd), "snr": flux, "compactness": np.ones(n),
            "healpix": index_cells(ra, dec), "local_rms_mjy_beam": np.ones(n),
            "flux_peak_isl_ratio": np.ones(n), "flux_int_isl_ratio": np.ones(n),
            "flux_scale_err": np.full(n, 0.01), "flux_tie_err": np.zeros(n), "trusted": np.ones(n, bool),
            "corrected": np.ones(n, bool),
        }  # fmt: skip
        for kind, unit in (("peak", "mjy_beam"), ("int", "mjy")):
            columns[f"flux_{kind}_{unit}"] = columns[f"flux_{kind}_corr_{unit}"] = flux
            columns[f"flux_{kind}_err_{unit}"] = columns[f"flux_{kind}_err_corr_{unit}"] = np.ones(n)
        for axis in ("ew", "ns"):
            columns[f"uncertainty_{axis}_arcsec"] = columns[f"uncertainty_{axis}_corr_arcsec"] = np.full(n, 0.7)
            columns[f"weight_{axis}_per_arcsec2"] = np.full(n, 1 / 0.49)
        births = self.births(skip)[member]
        born = np.asarray([i == b for i, b in zip(ids, births, strict=True)], dtype=bool)
        associations = filled(
            ASSOCIATIONS, n, source_id=source_ids(births), measurement_id=ids, epoch=np.full(n, name, dtype=object),
            separation_arcsec=np.where(born, np.nan, 0.5), de_ruiter=np.where(born, np.nan, 0.7),
        )  # fmt: skip
        k = self.n_images
        table = filled(
            IMAGES, k, image=np.asarray(images, dtype=object), mjd=np.full(k, mjd), ra_deg=np.full(k, self.centre[0]),
            dec_deg=np.full(k, self.centre[1]), radius_deg=np.full(k, 2.0), bmaj_arcsec=np.full(k, 58.8),
            bmin_arcsec=np.full(k, 33.1),
            freq_mhz=np.full(k, 1405.0), rms_mjy_beam=np.full(k, 1.5) + 0.1 * np.arange(k),
        )  # fmt: skip
        corrections = filled(
            CORRECTIONS,
            k,
            image=np.asarray(images, dtype=object),
            flux_mult=np.ones(k),
            trusted=np.ones(k, bool),
        )
        return EpochProducts(
            name, table, filled(CORRECTED_MEASUREMENTS, n, **columns), associations, RELATIONS.empty(), corrections,
            {"measurements": version},
        )  # fmt: skip

    @cache  # noqa: B019 (as short-lived as its test)
    def measurement_ids(self, number: int) -> np.ndarray:
        """Of all sources, seen or not."""
        n = len(self.ra)
        component = np.arange(n).astype(str).astype(object)
        return measurement_ids(self.names[number], np.full(n, "image", dtype=object), component)

    @cache  # noqa: B019
    def births(self, skip: frozenset[int] = frozenset()) -> np.ndarray:
        """First measurement of each source."""
        births = np.full(len(self.ra), None, dtype=object)
        for number in reversed([e for e in range(len(self.names)) if e not in skip]):
            births = np.where(self.seen[number], self.measurement_ids(number), births)
        return births

    def epochs(self, **options) -> list[EpochProducts]:
        return [self.epoch(number, **options) for number in range(len(self.names))]


def with_forks(epochs: list[EpochProducts], n_forks: int) -> tuple[list[EpochProducts], list[str]]:
    """The epochs, in the last of which the first sources fork and copy their history; and the ids of the forks."""
    associations = [pd.DataFrame(epoch.associations) for epoch in epochs]
    last, pairs, added = associations[-1], [], []
    for parent, shared in zip(last["source_id"][:n_forks], last["measurement_id"][:n_forks], strict=True):
        child = fork_id(parent, shared)
        pairs.append((parent, child, "fork"))
        added += [rows[rows["source_id"] == parent].assign(source_id=child, copied=True) for rows in associations[:-1]]
        added.append(last[last["source_id"] == parent].assign(source_id=child))
    relations = pd.DataFrame(pairs, columns=["from_source_id", "to_source_id", "kind"])
    forked = replace(epochs[-1], associations=pd.concat([last, *added], ignore_index=True), relations=relations)
    return [*epochs[:-1], forked], [child for _, child, _ in pairs]


def fork_id(source: str, measurement: str) -> str:
    return to_hex(mix(from_hex([source]), from_hex([measurement])))[0]


def nvss(survey: Survey) -> ReferenceCatalog:
    """The true sources of a survey as a reference catalog."""
    frame = pd.DataFrame(
        {
            "catalog_source_id": [f"N{i:03d}" for i in range(len(survey.ra))],
            "ra_deg": survey.ra,
            "dec_deg": survey.dec,
            "flux_mjy": survey.flux,
            "flux_err_mjy": 1.0,
        }
    )
    return ReferenceCatalog("nvss", frame, freq_mhz=1400.0, beam_arcsec=45.0, version="v1")
