"""The survey, or a night of it, as one HTML page for mail and archives."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pandas as pd

from contimg_assets.config import Config
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.changes import epoch_changes
from contimg_assets.database.survey_summary import image_corrections, marked_sources
from contimg_assets.errors import StoreError
from contimg_assets.figures.html_page import HtmlPage
from contimg_assets.figures.light_curves import draw_light_curve
from contimg_assets.figures.survey import draw_epochs, draw_sky, draw_variability
from contimg_assets.files import replace_text
from contimg_assets.pipeline.findings import look, verdicts

# Sources with a light curve each, and rows of a table.
_CURVES, _ROWS = 8, 50
_IMAGES = ["epoch", "image", "verdict", "mjd", "dra_arcsec", "dra_err_arcsec", "ddec_arcsec", "ddec_err_arcsec"]
_IMAGES += ["flux_mult", "flux_mult_err", "rms_mjy_beam", "n_rows", "reason"]
_NEW = ["name", "ra_deg", "dec_deg", "first_epoch", "n_measurements", "new_significance", "false_chance"]
_CHANGES = ["name", "ra_deg", "dec_deg", "image", "snr", "flux_mjy", "flux_err_mjy", "others_mjy", "ratio", "sigma"]
LEAST_SIGMA = 5.0
"""Differences from other epochs that people look at."""


def survey_report(config: Config, database: ProductsDatabase) -> str:
    """The whole survey: what needs eyes, how many vary and are new, with light curves of the first, images over time.

    Raises
    ------
    StoreError
        If the products hold nothing yet.
    """
    found = look(config, database)
    if found is None:
        raise StoreError("the products hold nothing yet; `contimg run` fills them")
    kind, most = database.flux_kind(), config.variability.max_q
    variables = database.variables(kind=kind)
    varying = variables[variables[f"q_value_{kind}"] <= most]
    page = HtmlPage(f"Survey of {config.root.resolve().name}")
    page.paragraph(found.headline)
    page.heading("What needs eyes")
    page.table(found.findings[:_ROWS])
    page.heading("Variables")
    page.paragraph(f"{len(varying)} light curves with a q-value of at most {most:g}; the most significant first.")
    page.picture(draw_variability(variables, kind, most, n_named=8), "V against eta of all sources")
    page.table(varying[:_ROWS], ["name", f"n_{kind}", f"eta_{kind}", f"v_{kind}", f"q_value_{kind}"])
    _curves(page, database, varying[["name", "source_id"]])
    new = database.new_sources(parameters=config.variability)
    page.heading("New sources")
    page.table(new[:_ROWS], _NEW)
    _curves(page, database, new.rename(columns={"id": "source_id"})[["name", "source_id"]])
    page.heading("Images")
    page.picture(draw_epochs(found.images, "Images over time"), "Offsets, flux factors and rms of images over time")
    page.picture(draw_sky(marked_sources(database, config.variability), found.images), "Sources and images on the sky")
    page.paragraph("The newest images:", dim=True)
    page.table(found.images[::-1][:_ROWS].reset_index(drop=True), _IMAGES)
    return page.text()


def night_report(config: Config, database: ProductsDatabase, epoch: str) -> str:
    """One epoch: its images, what is new, and what is brighter or fainter than in other epochs, with light curves.

    Raises
    ------
    StoreError
        If there is no such epoch.
    """
    changes = epoch_changes(database, epoch, config.variability)
    images = image_corrections(database)
    images = images.assign(verdict=verdicts(images))
    images = images[images["epoch"] == epoch].reset_index(drop=True)
    new = database.new_sources(parameters=config.variability)
    new = new[new["first_epoch"] == epoch].rename(columns={"id": "source_id"}).reset_index(drop=True)
    far = changes[changes["sigma"].abs() >= LEAST_SIGMA].reset_index(drop=True)
    refused = int((images["verdict"] == "refused").sum())
    page = HtmlPage(f"Epoch {epoch}")
    page.paragraph(
        f"{len(images)} images, {refused} of them refused; {len(changes)} sources that other epochs have too, "
        f"{len(far)} of them off by {LEAST_SIGMA:g} sigma or more; {len(new)} new sources."
    )
    page.heading("Brighter or fainter than in other epochs")
    page.paragraph("Flux here, mean of the other epochs in the band, their ratio, difference over its error.", dim=True)
    page.table(far[:_ROWS], _CHANGES)
    _curves(page, database, far[["name", "source_id"]])
    page.heading("New sources")
    page.table(new[:_ROWS], _NEW)
    _curves(page, database, new[["name", "source_id"]])
    page.heading("Images")
    page.table(images, _IMAGES)
    return page.text()


def _curves(page: HtmlPage, database: ProductsDatabase, sources: pd.DataFrame) -> None:
    """Light curves of the first sources of a list."""
    for row in sources.drop_duplicates()[:_CURVES].itertuples(index=False):
        page.picture(draw_light_curve(database.light_curve(row.source_id), str(row.name)), f"Light curve of {row.name}")


def write_report(config: Config, file: Path, epoch: str | None = None) -> Path:
    """Write the report of the survey, or of an epoch, in one step. Returns the file.

    Raises
    ------
    StoreError
        If there is nothing to report.
    """
    with closing(ProductsDatabase(config.products_url)) as database:
        text = survey_report(config, database) if epoch is None else night_report(config, database, epoch)
    replace_text(file, text)
    return file
