"""Sources across epochs: the fold, its methods, its state, and its driver under late data.

The fold itself is `contimg_assets.association.fold.fold`, its driver `contimg_assets.association.refold.refold`.
"""

from contimg_assets.association.batch import AssociationResult, associate_measurements
from contimg_assets.association.history import copy_fork_history
from contimg_assets.association.state import FoldState

__all__ = ["AssociationResult", "FoldState", "associate_measurements", "copy_fork_history"]
