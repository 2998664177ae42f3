"""Skies with known truth: a whole survey on disk, measurements in memory, and the score of results against truth.

Belongs here: what is made up, and how results compare with it. Does not belong here: any step of the pipeline itself;
the finder here is a simulated one.
"""

from contimg_assets.simulate.parameters import ReferenceParameters, SurveyParameters, TelescopeParameters
from contimg_assets.simulate.score import Score, format_report, score_association, score_survey
from contimg_assets.simulate.survey import SurveyTruth, simulate_survey
from contimg_assets.simulate.tables import DetectionParameters, simulate_detections

__all__ = [
    "DetectionParameters",
    "ReferenceParameters",
    "Score",
    "SurveyParameters",
    "SurveyTruth",
    "TelescopeParameters",
    "format_report",
    "score_association",
    "score_survey",
    "simulate_detections",
    "simulate_survey",
]
