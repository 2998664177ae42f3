"""Pictures as the Dagster UI shows them beside an epoch: PNG inside Markdown, a few kB each."""

from __future__ import annotations

import base64

import dagster as dg

from contimg_assets.orchestration.markdown import escaped


def embedded(png: bytes, title: str) -> dg.MarkdownMetadataValue:
    """A PNG as metadata that the UI shows as a picture."""
    return dg.MetadataValue.md(f"![{escaped(title)}](data:image/png;base64,{base64.b64encode(png).decode()})")
