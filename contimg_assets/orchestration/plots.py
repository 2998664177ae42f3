"""Pictures as the Dagster UI shows them beside an epoch: SVG inside Markdown, a few kB each."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import dagster as dg

from contimg_assets.orchestration.markdown import escaped

# The name of all pictures of an epoch in an asset's metadata.
PICTURES = "pictures"


def embedded(pictures: Mapping[str, bytes]) -> dg.MarkdownMetadataValue:
    """SVGs by title as metadata that the UI shows as pictures, one below the other."""
    return dg.MetadataValue.md("\n\n".join(_embedded(title, svg) for title, svg in pictures.items()))


def _embedded(title: str, svg: bytes) -> str:
    return f"![{escaped(title)}](data:image/svg+xml;base64,{base64.b64encode(svg).decode()})"
