"""Which page of `contimg web` shows what an asset makes: Dagster's page of the asset leads there."""

from __future__ import annotations

from typing import NamedTuple

import dagster as dg


class _Page(NamedTuple):
    """A page of `contimg web`.

    Attributes
    ----------
    path : of its address
    shown : what is on it
    picture : of `contimg_assets.web.pictures`, that goes with it
    """

    path: str
    shown: str
    picture: str


# By the first word of an asset's key; products by their table. What is on no page of its own leads to the overview.
_OVERVIEW = _Page("/", "Overview of the survey", "sky")
_IMAGES = _Page("/images", "Images over time, with offsets, scales, rms and verdicts", "images")
_SOURCES = _Page("/sources", "Sources, with their light curves", "sky")
_CATALOGS = _Page("/catalogs", "Catalogs, with the shares that are matched", "catalogs")
_PAGES = {
    **dict.fromkeys(("incoming", "fits_images", "raw_detections", "measurements", "corrections"), _IMAGES),
    **dict.fromkeys(("error_model", "epoch_scales", "images"), _IMAGES),
    **dict.fromkeys(("associated_sources", "forced_photometry", "sources", "associations"), _SOURCES),
    **dict.fromkeys(("source_relations", "source_aliases", "forced_fluxes", "products/measurements"), _SOURCES),
    **dict.fromkeys(("catalog_matches", "reference", "reference_files", "cross_matches"), _CATALOGS),
    "variability": _Page("/eta-v", "V against eta of all sources", "eta-v"),
}
_PRODUCTS = "products"


def page_of(key: dg.AssetKey) -> _Page:
    """The page that shows what an asset makes."""
    first, last = key.path[0], key.path[-1]
    return _PAGES.get(key.to_user_string(), _PAGES.get(last if first == _PRODUCTS else first, _OVERVIEW))


def with_page(spec: dg.AssetSpec, web_url: str) -> dg.AssetSpec:
    """The asset with its page and its picture below its description, which Dagster's page of the asset shows open.

    Where `contimg web` does not run, the words that lead to the page stand in the picture's place.

    Parameters
    ----------
    web_url : address of `contimg web`; no link if empty
    """
    if not web_url:
        return spec
    page, root = page_of(spec.key), web_url.rstrip("/")
    described = f"{spec.description}\n\n" if spec.description else ""
    link = f"[{page.shown}]({root}{page.path}) (`contimg web`)"
    picture = f"[![]({root}/picture/{page.picture}.png)]({root}{page.path})"
    return spec.replace_attributes(description=f"{described}{link}\n\n{picture}")
