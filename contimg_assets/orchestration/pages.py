"""Which page of `contimg web` shows what an asset makes: Dagster's page of the asset leads there."""

from __future__ import annotations

import dagster as dg

# By the first word of an asset's key; products by their table. What is on no page of its own leads to the overview.
_OVERVIEW = ("/", "Overview of the survey")
_IMAGES = ("/images", "Images over time, with offsets, scales, rms and verdicts")
_SOURCES = ("/sources", "Sources, with their light curves")
_CATALOGS = ("/catalogs", "Catalogs, with the shares that are matched")
_PAGES = {
    **dict.fromkeys(("incoming", "fits_images", "raw_detections", "measurements", "corrections"), _IMAGES),
    **dict.fromkeys(("error_model", "epoch_scales", "images"), _IMAGES),
    **dict.fromkeys(("associated_sources", "forced_photometry", "sources", "associations"), _SOURCES),
    **dict.fromkeys(("source_relations", "source_aliases", "forced_fluxes", "products/measurements"), _SOURCES),
    **dict.fromkeys(("catalog_matches", "reference", "reference_files", "cross_matches"), _CATALOGS),
    "variability": ("/eta-v", "V against eta of all sources"),
}
_PRODUCTS = "products"


def page_of(key: dg.AssetKey) -> tuple[str, str]:
    """Path of the page, and what it shows."""
    first, last = key.path[0], key.path[-1]
    return _PAGES.get(key.to_user_string(), _PAGES.get(last if first == _PRODUCTS else first, _OVERVIEW))


def with_page(spec: dg.AssetSpec, web_url: str) -> dg.AssetSpec:
    """The asset with a link to its page below its description, which Dagster's page of the asset shows open.

    Parameters
    ----------
    web_url : address of `contimg web`; no link if empty
    """
    if not web_url:
        return spec
    path, shown = page_of(spec.key)
    described = f"{spec.description}\n\n" if spec.description else ""
    return spec.replace_attributes(description=f"{described}[{shown}]({web_url.rstrip('/')}{path}) (`contimg web`)")
