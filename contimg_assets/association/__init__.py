"""Sources across epochs: the fold, its methods and its state.

The fold of one epoch is `contimg_assets.association.fold.fold`; `contimg_assets.pipeline.chain.fold` drives it over the
epochs of a survey, late ones included.
"""

from contimg_assets.association.batch import AssociationResult, associate_measurements
from contimg_assets.association.history import copy_fork_history
from contimg_assets.association.state import FoldState

__all__ = ["AssociationResult", "FoldState", "associate_measurements", "copy_fork_history"]
