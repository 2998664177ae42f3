"""What a survey will cost in time, memory and disk, told from small surveys that were measured.

Belongs here: the model of costs. Does not belong here: how the small surveys are run, which is the command line's.
"""

from contimg_assets.planning.costs import (
    QUANTITIES,
    VALIDATED_WITHIN,
    CostModel,
    Measured,
    Plan,
    SurveySize,
    fit_costs,
)

__all__ = ["QUANTITIES", "VALIDATED_WITHIN", "CostModel", "Measured", "Plan", "SurveySize", "fit_costs"]
