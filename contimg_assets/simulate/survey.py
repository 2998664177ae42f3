"""A survey with known truth on disk: deliveries, reference catalogs and what is true of both.

Belongs here: the order of things and the files. The sky is in `sky`, the finder in `finder`, numbers in `parameters`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from astropy.coordinates import SkyCoord
from pyarrow.csv import WriteOptions, write_csv

from contimg_assets.errors import InputError
from contimg_assets.identity.ids import measurement_ids
from contimg_assets.simulate.finder import CATALOG_COLUMNS, FWHM_PER_SIGMA, blend, detect, groups_within
from contimg_assets.simulate.images import write_images
from contimg_assets.simulate.parameters import ReferenceParameters, SurveyParameters
from contimg_assets.simulate.polarization import (
    COLUMNS,
    detect_polarized,
    in_other_stokes,
    polarized_sky,
    true_polarization,
)
from contimg_assets.simulate.sky import light_curves, schedule, true_sources
from contimg_assets.sky.arrays import Floats, Indices
from contimg_assets.sky.sphere import displaced, offsets_arcsec

_MANIFEST = ["image", "catalogue", "mjd_mid", "ra_deg", "dec_deg", "radius_deg", "bmaj_arcsec", "bmin_arcsec"]
_MANIFEST += ["bpa_deg", "freq_mhz", "rms_mjy_beam"]
# Between an image and the same at the next frequency.
_NEXT_BAND_DAYS = 0.005
_TRUTH_TABLES = ("sources", "measurements", "images", "light_curves", "counterparts")
_POLARIZATION = "polarization"
_CSV = WriteOptions(quoting_style="needed")
_IN_TRUTH_ONLY = ["true_source", "second_source"]


@dataclass(frozen=True)
class SurveyTruth:
    """What is true of a simulated survey; `score` compares results with it.

    Attributes
    ----------
    sources : DataFrame
        One row a true source: ``true_source``, ``source_class`` (constant, variable, transient, double), ``ra_deg``,
        ``dec_deg``, ``flux_mjy``, ``spectral_index``, ``size_arcsec``, ``modulation_index``, ``companion``,
        ``companion_arcsec``, ``blend``.
    measurements : DataFrame
        One row a delivered detection: ``measurement_id``, ``epoch``, ``image``, ``component_id``, ``true_source``
        (missing: no source at all), ``second_source`` (the other source of a blend), ``true_ra_deg``, ``true_dec_deg``,
        ``true_flux_mjy``.
    images : DataFrame
        One row an image: ``epoch``, ``image``, ``mjd``, ``ra_deg``, ``dec_deg``, ``radius_deg``, ``rms_mjy_beam`` and
        the true correction: ``dra_arcsec``, ``ddec_arcsec`` (corrected = measured + offset, at the image's center, see
        `contimg_assets.simulate.rigid`), ``flux_mult``, ``flux_add_mjy`` (corrected = (measured - add) * mult).
    light_curves : DataFrame
        One row a source and epoch: ``true_source``, ``epoch``, ``mjd`` (of the epoch's middle), ``flux_mjy`` (0 = off).
    counterparts : DataFrame
        One row an entry of a reference catalog: ``catalog``, ``catalog_source_id``, ``true_source``,
        ``second_source`` (the other source of an entry that is a blend).
    polarization : DataFrame
        One row a polarized source and Stokes parameter: ``true_source``, ``stokes``, ``ra_deg``, ``dec_deg``,
        ``fraction`` of the flux in I, signed, or ``flux_mjy`` of what only polarized images show.
    """

    sources: pd.DataFrame
    measurements: pd.DataFrame
    images: pd.DataFrame
    light_curves: pd.DataFrame
    counterparts: pd.DataFrame
    polarization: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(COLUMNS)))

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (*_TRUTH_TABLES, *([_POLARIZATION] if len(self.polarization) else [])):
            getattr(self, name).to_parquet(folder / f"{name}.parquet", index=False)

    @classmethod
    def read(cls, folder: Path) -> SurveyTruth:
        """The truth of a survey that `simulate_survey` wrote: its folder ``truth``."""
        names = [name for name in (*_TRUTH_TABLES, _POLARIZATION) if (folder / f"{name}.parquet").exists()]
        return cls(**{name: pd.read_parquet(folder / f"{name}.parquet") for name in names})


def simulate_survey(
    out: Path | str, parameters: SurveyParameters | None = None, *, images: bool = False
) -> SurveyTruth:
    """Write a survey with known truth into a folder: ``incoming/``, ``catalogs/`` and ``truth/``.

    Parameters
    ----------
    out : Path or str
        Folder; made where missing. The same survey may be written again; a different one needs another folder.
    parameters : SurveyParameters, optional
        The default is a small DSA-110 survey across RA 0.
    images : bool
        Write the images too, as FITS, and name them in ``images.csv``. Everything else is the same without.

    Returns
    -------
    SurveyTruth
        Tables ``sources``, ``measurements``, ``images``, ``light_curves``, ``counterparts``, ``polarization``; also in
        ``<out>/truth/*.parquet``. The parameters are in ``<out>/truth/parameters.json``.

    Raises
    ------
    InputError
        If the folder holds deliveries that are not of this very survey.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import contimg_assets as ca
    >>> small = ca.SurveyParameters(n_epochs=2, images_per_epoch=2, n_sources=20, n_transients=0, seed=3)
    >>> with TemporaryDirectory() as folder:
    ...     truth = ca.simulate_survey(folder, small)
    >>> truth.images["epoch"].nunique(), truth.light_curves["epoch"].nunique()
    (2, 2)
    """
    p, out = parameters or SurveyParameters(), Path(out)
    _claim(out, p)
    sky_rng = np.random.default_rng([p.seed, 0])
    delivered = schedule(p, sky_rng)
    sources = true_sources(p, delivered, sky_rng)
    epoch_mjd = delivered.groupby("epoch_index")["mjd"].mean()
    flux = light_curves(p, sources, epoch_mjd.to_numpy(), np.random.default_rng([p.seed, 1]))
    radii = {p.of_epoch(k).blend_radius_arcsec for k in range(2)}
    groups = {radius: groups_within(sources["ra_deg"], sources["dec_deg"], radius) for radius in radii}
    found = []
    delivered = _in_all_bands(p, _by_both_telescopes(p, delivered))
    polarized = true_polarization(p, delivered, sources)
    for key, rows in delivered.groupby("epoch_index", sort=True):
        k, rows = int(str(key)), rows.reset_index(drop=True)
        taken = p.of_epoch(k)
        now = _flux_at(p, taken.freq_mhz, sources, flux[k])
        table = _detect_in_all_bands(taken, rows, sources, now, groups[taken.blend_radius_arcsec])
        folder = out / "incoming" / rows["epoch"].iloc[0]
        if images:
            rows = rows.assign(path=_write_images_of_all_bands(folder, taken, rows, sources, now))
        found.append(table)
        if p.stokes:
            others = in_other_stokes(p, rows.drop(columns="path", errors="ignore"))
            if p.polarized_catalogs:
                tables = [table, *_detect_polarized(taken, others, sources, now, polarized, first=len(rows))]
                table = pd.concat(tables, ignore_index=True)
            elif images:
                others = others.assign(path=_write_polarized_images(folder, taken, others, (sources, now), polarized))
            rows = pd.concat([rows.assign(stokes="I"), others], ignore_index=True)
        _write_epoch(taken, folder, rows, table)
    counterparts = []
    for index, reference in enumerate(p.catalogs):
        rng = np.random.default_rng([p.seed, 3, index])
        folder = out / "catalogs"
        folder.mkdir(parents=True, exist_ok=True)
        table = reference_catalog(reference, p, sources, rng)
        table.drop(columns=_IN_TRUTH_ONLY).to_parquet(folder / f"{reference.name}.parquet", index=False)
        counterparts.append(table[["catalog_source_id", *_IN_TRUTH_ONLY]].assign(catalog=reference.name))
    truth = SurveyTruth(
        sources=sources,
        measurements=_true_measurements(found),
        images=delivered.drop(columns="epoch_index"),
        light_curves=_true_light_curves(delivered, sources, flux),
        counterparts=_true_counterparts(counterparts),
        polarization=polarized,
    )
    truth.write(out / "truth")
    return truth


def _by_both_telescopes(p: SurveyParameters, images: pd.DataFrame) -> pd.DataFrame:
    """The images with their frequency; those of a second telescope with its own noise and errors."""
    second = (images["epoch_index"] % 2 == 1).to_numpy() & (p.telescope_2 is not None)
    images = images.assign(freq_mhz=np.where(second, p.of_epoch(1).freq_mhz, p.freq_mhz))
    if p.telescope_2 is None:
        return images
    rng, n, two = np.random.default_rng([p.seed, 9]), int(second.sum()), p.telescope_2
    images.loc[second, "rms_mjy_beam"] = rng.uniform(*two.rms_mjy_beam, n)
    images.loc[second, "flux_mult"] = np.exp(rng.normal(0.0, two.flux_scale_sigma, n))
    for name in ("dra_arcsec", "ddec_arcsec"):
        images.loc[second, name] = rng.normal(0.0, two.offset_sigma_arcsec, n)
    return images


def _in_all_bands(p: SurveyParameters, images: pd.DataFrame) -> pd.DataFrame:
    """The images, and after those of each epoch the same at the other frequencies."""
    parts = [images]
    for number, freq_mhz in enumerate(p.other_bands_mhz):
        rng, n = np.random.default_rng([p.seed, 4, number]), len(images)
        again = images.assign(
            image=images["image"] + f"_{freq_mhz:g}MHz",
            freq_mhz=freq_mhz,
            mjd=images["mjd"] + (number + 1) * _NEXT_BAND_DAYS,
            rms_mjy_beam=rng.uniform(*p.rms_mjy_beam, n),
            flux_mult=np.exp(rng.normal(0.0, p.flux_scale_sigma, n)),
        )
        offsets = {name: rng.normal(0.0, p.offset_sigma_arcsec, n) for name in ("dra_arcsec", "ddec_arcsec")}
        parts.append(again.assign(**offsets))
    return pd.concat(parts, ignore_index=True).sort_values("epoch_index", kind="stable", ignore_index=True)


def _detect_in_all_bands(
    p: SurveyParameters, images: pd.DataFrame, sources: pd.DataFrame, flux_mjy: Floats, groups: Indices
) -> pd.DataFrame:
    """What the finder delivers for the images of one epoch, see `detect`; each source by its spectral index."""
    epoch, parts = int(images["epoch_index"].iloc[0]), []
    for number, freq_mhz in enumerate((p.freq_mhz, *p.other_bands_mhz)):
        rng = np.random.default_rng([p.seed, 2, epoch] if not number else [p.seed, 5, epoch, number])
        of_band = np.flatnonzero(images["freq_mhz"].to_numpy() == freq_mhz)
        here = images.iloc[of_band].reset_index(drop=True)
        table = detect(p, here, sources, _flux_at(p, freq_mhz, sources, flux_mjy), groups, rng)
        table = table.assign(image_index=of_band[table["image_index"].to_numpy(np.intp)]) if number else table
        parts.append(table.assign(freq_mhz=freq_mhz))
    return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)


def _detect_polarized(
    p: SurveyParameters,
    images: pd.DataFrame,
    sources: pd.DataFrame,
    flux_mjy: Floats,
    polarized: pd.DataFrame,
    first: int,
) -> list[pd.DataFrame]:
    """What the finder delivers in other Stokes parameters; images are numbered from `first` on."""
    parts = []
    for _, rows in images.groupby(["stokes", "freq_mhz"], sort=False):
        here = rows.reset_index(drop=True)
        flux = _flux_at(p, float(here["freq_mhz"].iloc[0]), sources, flux_mjy)
        table = detect_polarized(p, here, sources, flux, polarized)
        number = first + rows.index.to_numpy()[table["image_index"].to_numpy(np.intp)]
        parts.append(table.assign(image_index=number, freq_mhz=here["freq_mhz"].iloc[0]))
    return parts


def _write_images_of_all_bands(
    folder: Path, p: SurveyParameters, images: pd.DataFrame, sources: pd.DataFrame, flux_mjy: Floats
) -> list[str]:
    """Write the images of one epoch, see `write_images`, and return the names of their files."""
    rng = np.random.default_rng([p.seed, 6, int(images["epoch_index"].iloc[0])])
    names = np.full(len(images), "", dtype=object)
    for freq_mhz in (p.freq_mhz, *p.other_bands_mhz):
        of_band = images["freq_mhz"].to_numpy() == freq_mhz
        here = _flux_at(p, freq_mhz, sources, flux_mjy)
        names[of_band] = write_images(folder, p, images[of_band], sources, here, rng)
    return list(names)


def _write_polarized_images(
    folder: Path, p: SurveyParameters, images: pd.DataFrame, sky: tuple[pd.DataFrame, Floats], polarized: pd.DataFrame
) -> list[str]:
    """Write images of one epoch in other Stokes parameters, see `write_images`; the sky is in I."""
    names = np.full(len(images), "", dtype=object)
    for _, rows in images.reset_index(drop=True).groupby(["stokes", "freq_mhz"], sort=False):
        stokes, freq_mhz = str(rows["stokes"].iloc[0]), float(rows["freq_mhz"].iloc[0])
        rng = np.random.default_rng([p.seed, 10, int(rows["epoch_index"].iloc[0]), int(freq_mhz), "QUVL".index(stokes)])
        flux = _flux_at(p, freq_mhz, *sky)
        sources, signed = polarized_sky(sky[0], flux, polarized[polarized["stokes"] == stokes])
        names[rows.index.to_numpy()] = write_images(folder, p, rows, sources, signed, rng)
    return list(names)


def _flux_at(p: SurveyParameters, freq_mhz: float, sources: pd.DataFrame, flux_mjy: Floats) -> Floats:
    """Flux densities [mJy] at a frequency, by each source's spectral index from those at the survey's own."""
    if freq_mhz == p.freq_mhz:
        return flux_mjy
    scaled: Floats = flux_mjy * (freq_mhz / p.freq_mhz) ** sources["spectral_index"].to_numpy(float)
    return scaled


def _claim(out: Path, p: SurveyParameters) -> None:
    """Make the folder this survey's own: two surveys in one folder would be delivered as one."""
    note = out / "truth" / "parameters.json"
    # Surveys of before are what they were.
    written = p.model_dump_json(indent=2, exclude=p.unused)
    incoming = out / "incoming"
    occupied = incoming.is_dir() and any(incoming.iterdir())
    if occupied and not (note.is_file() and note.read_text(encoding="utf-8") == written):
        raise InputError(f"{incoming} holds other deliveries already; name a new folder for this survey")
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(written, encoding="utf-8")


def reference_catalog(
    reference: ReferenceParameters, parameters: SurveyParameters, sources: pd.DataFrame, rng: np.random.Generator
) -> pd.DataFrame:
    """The same sky as another survey saw it, years ago: no transients, variables at another flux, its own blends.

    Returns
    -------
    DataFrame with catalog_source_id (IAU name with the survey's), ra_deg, dec_deg, ra_err_arcsec, dec_err_arcsec,
    flux_mjy, flux_err_mjy, flux_peak_mjy_beam, and the truth: true_source, second_source; sorted by name
    """
    steady = sources[sources["source_class"] != "transient"]
    sigma = np.sqrt(np.log1p(steady["modulation_index"].to_numpy(float) ** 2))
    then = np.exp(sigma * rng.normal(size=len(steady)) - sigma**2 / 2.0)
    scale = (reference.freq_mhz / parameters.freq_mhz) ** steady["spectral_index"].to_numpy(float)
    sky = steady.assign(flux_mjy=steady["flux_mjy"].to_numpy(float) * then * scale)
    beam = (reference.beam_arcsec, reference.beam_arcsec)
    groups = groups_within(sky["ra_deg"], sky["dec_deg"], parameters.blend_radius_beams * reference.beam_arcsec)
    entries = blend(sky, groups.astype(np.int64), beam)
    # The footprint ends at an hour circle: what lies east of it is missing.
    east, _ = offsets_arcsec(
        parameters.centre_ra_deg, parameters.centre_dec_deg, entries["ra_deg"].to_numpy(), entries["dec_deg"].to_numpy()
    )
    limit = np.quantile(east, reference.covered_fraction) if len(east) else 0.0
    total = entries["flux_mjy"].to_numpy()
    peak = total * beam[0] * beam[1] / (entries["bmaj_arcsec"] * entries["bmin_arcsec"]).to_numpy()
    rms = reference.rms_mjy_beam
    peak = peak + rng.normal(0.0, rms, len(peak))
    kept = (peak >= 5.0 * rms) & (east <= limit) & (rng.random(len(peak)) >= reference.lost_fraction)
    entries, peak, total = entries[kept], peak[kept], total[kept]
    error = np.hypot(rms, 0.03 * total)
    total = np.maximum(total + rng.normal(size=len(total)) * error, rms)
    position = np.hypot(reference.position_floor_arcsec, reference.beam_arcsec / (FWHM_PER_SIGMA * peak / rms))
    shift = rng.normal(size=(2, len(total))) * position
    names, second = sky["true_source"].to_numpy(), entries["second"].to_numpy()
    ra, dec = displaced(entries["ra_deg"], entries["dec_deg"], shift[0], shift[1])
    table = pd.DataFrame(
        {
            "catalog_source_id": _names(reference.name, ra, dec),
            "ra_deg": ra,
            "dec_deg": dec,
            "ra_err_arcsec": position,
            "dec_err_arcsec": position,
            "flux_mjy": total,
            "flux_err_mjy": error,
            "flux_peak_mjy_beam": peak,
            "true_source": names[entries["index"].to_numpy()],
            "second_source": np.where(second >= 0, names[second], None) if len(second) else None,
        }
    )
    # Two entries of one name are closer than the name tells apart: the brighter one has it.
    table = table.sort_values(["catalog_source_id", "flux_mjy"], ascending=[True, False])
    return table.drop_duplicates("catalog_source_id").reset_index(drop=True)


def _names(survey: str, ra_deg: np.ndarray, dec_deg: np.ndarray) -> list[str]:
    """IAU names, "NVSS_LIKE J000012.34+160059.8": truncated, as the IAU asks."""
    if not len(ra_deg):
        return []
    places = SkyCoord(ra_deg, dec_deg, unit="deg")
    ra = places.ra.to_string(unit="hourangle", sep="", precision=3, pad=True)
    dec = places.dec.to_string(sep="", precision=2, pad=True, alwayssign=True)
    return [f"{survey.upper()} J{a[:-1]}{d[:-1]}" for a, d in zip(ra, dec, strict=True)]


def _write_epoch(p: SurveyParameters, folder: Path, images: pd.DataFrame, table: pd.DataFrame) -> None:
    """One catalog an image, then the manifest: what the sensor takes as the end of a delivery."""
    folder.mkdir(parents=True, exist_ok=True)
    files = images["image"] + ".csv"
    if "stokes" in images and not p.polarized_catalogs:
        files = files.where(images["stokes"] == "I")
    # Digits beyond these are far below any error.
    rows = table.round(6).assign(ra_deg=table["ra_deg"].round(9), dec_deg=table["dec_deg"].round(9))
    # Rounding up may reach 360 itself.
    rows["ra_deg"] = rows["ra_deg"] % 360.0
    # The images of one frequency come together, whatever their order in the manifest.
    order = np.argsort(table["image_index"].to_numpy(np.intp), kind="stable")
    table, rows = table.iloc[order], rows.iloc[order]
    delivered = pa.Table.from_pandas(rows[list(CATALOG_COLUMNS)], preserve_index=False)
    first = np.searchsorted(table["image_index"], np.arange(len(images) + 1))
    for k, file in enumerate(files):
        if isinstance(file, str):
            write_csv(delivered.slice(first[k], first[k + 1] - first[k]), folder / file, _CSV)
    manifest = images.assign(
        catalogue=files,
        mjd_mid=images["mjd"],
        bmaj_arcsec=p.bmaj_arcsec,
        bmin_arcsec=p.bmin_arcsec,
        bpa_deg=p.bpa_deg,
    )
    columns = [*_MANIFEST, *(name for name in ("path", "stokes") if name in manifest)]
    manifest[columns].to_csv(folder / "images.csv", index=False, float_format="%.12g")


def _true_measurements(found: list[pd.DataFrame]) -> pd.DataFrame:
    columns = ["epoch", "image", "freq_mhz", "component_id", "true_source", "second_source"]
    columns += ["true_ra_deg", "true_dec_deg", "true_flux_mjy"]
    parts = [
        table[columns].assign(
            measurement_id=measurement_ids(table["epoch"].iloc[0], table["image"], table["component_id"])
        )
        for table in found
        if len(table)
    ]
    if not parts:
        return pd.DataFrame(columns=["measurement_id", *columns])
    return pd.concat(parts, ignore_index=True)[["measurement_id", *columns]]


def _true_counterparts(tables: list[pd.DataFrame]) -> pd.DataFrame:
    columns = ["catalog", "catalog_source_id", *_IN_TRUTH_ONLY]
    if not tables:
        return pd.DataFrame(columns=columns)
    table = pd.concat(tables, ignore_index=True)[columns]
    second = table["second_source"].astype(object)
    # Through a list, so that pandas settles on the type it gives all text columns.
    return table.assign(second_source=second.where(second.notna(), None).to_list())


def _true_light_curves(images: pd.DataFrame, sources: pd.DataFrame, flux: np.ndarray) -> pd.DataFrame:
    epochs = images.groupby("epoch_index").agg(epoch=("epoch", "first"), mjd=("mjd", "mean"))
    n_epochs, n = flux.shape
    return pd.DataFrame(
        {
            "true_source": np.tile(sources["true_source"].to_numpy(), n_epochs),
            "epoch": np.repeat(epochs["epoch"].to_numpy(), n),
            "mjd": np.repeat(epochs["mjd"].to_numpy(), n),
            "flux_mjy": flux.ravel(),
        }
    )
