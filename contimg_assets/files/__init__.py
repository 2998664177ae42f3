"""Files on a disk: replaced in one step, kept through a power cut, and their troubles told in one sentence."""

from contimg_assets.files.replacing import keep, replace_text, replace_texts, replacing
from contimg_assets.files.troubles import reading_from, writing_to

__all__ = ["keep", "reading_from", "replace_text", "replace_texts", "replacing", "writing_to"]
