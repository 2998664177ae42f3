"""The name of a frame, as a person writes it into the configuration."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from contimg_assets.sky.frames import parse_frame


def _known_frame(frame: str) -> str:
    parse_frame(frame)
    return frame


FrameName = Annotated[str, AfterValidator(_known_frame)]
