"""What each method makes of a scene: its candidates, and which of them it chooses."""

from __future__ import annotations

import numpy as np

from contimg_assets.association import vast_pipeline
from contimg_assets.association.decision import Decision
from contimg_assets.association.one_beam import with_outliers
from contimg_assets.association.optimal import optimal
from contimg_assets.association.scene import Scene
from contimg_assets.association.source_pairs import SourcePairs, candidates

BY_RADIUS = ("basic", "advanced")
"""Methods that take whatever lies within `association.radius_arcsec`; the others go by errors."""


def search_radius_arcsec(scene: Scene) -> float:
    """How far apart candidates may be at most, whatever becomes of them [arcsec]."""
    parameters = scene.parameters
    if parameters.method in BY_RADIUS:
        return parameters.radius_arcsec
    if not len(scene.observation) or not len(scene.known):
        return 0.0
    measured = scene.alignment.variance_ew, scene.alignment.variance_ns
    widest = max(map(np.max, measured)) + max(map(np.max, scene.source_variance))
    return min(parameters.de_ruiter_radius * float(np.sqrt(widest)), scene.reach.widest_arcsec)


def decide(scene: Scene) -> tuple[SourcePairs, Decision]:
    """All candidates of a scene, and what the configured method decides; it may add candidates of its own."""
    parameters, alignment, n = scene.parameters, scene.alignment, len(scene.observation)
    measured_variance = alignment.variance_ew, alignment.variance_ns
    pairs = candidates(
        scene.measured, measured_variance, scene.sources, scene.source_variance, search_radius_arcsec(scene)
    )
    if parameters.method == "basic":
        return pairs, vast_pipeline.basic(pairs, n)
    if parameters.method == "advanced":
        return pairs, vast_pipeline.advanced(pairs, n, pairs.separation_arcsec)
    pairs = scene.reach.within(pairs)
    pairs = pairs.keep(pairs.de_ruiter <= parameters.de_ruiter_radius)
    if parameters.method == "deruiter":
        return pairs, vast_pipeline.advanced(pairs, n, pairs.de_ruiter)
    found = optimal(pairs, scene.known, scene.observation, alignment, scene.sources, parameters)
    return with_outliers(scene, pairs, found)
