"""Whoever imports this draws no figures in its runs: for fork servers of tests that look at none."""

from contimg_assets.figures import corrections, summaries
from contimg_assets.pipeline import chain

chain.EPOCHS_DRAWN = 0
for module in (summaries, corrections):
    module.small_png_of = lambda figure, dpi: b"not drawn in tests"
