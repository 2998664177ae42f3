"""Tables of the stage `associated_sources`: associations, relations, forks, the fold's state, alignment of images."""

import pandas as pd

from contimg_assets.schemas.core import BOOL, FLOAT, INT, TEXT, Column, TableSchema

_SOURCE = Column(
    "source_id", TEXT, "", "Hash of the measurement that gave birth to the source", ucd="meta.id;meta.main"
)

ASSOCIATIONS = TableSchema(
    "associations",
    "Which source each measurement of the epoch belongs to; a measurement may belong to several (fork)",
    (
        _SOURCE,
        Column("measurement_id", TEXT, "", "The measurement", ucd="meta.id"),
        Column("epoch", TEXT, "", "Epoch of the measurement: earlier than this partition only where `copied`"),
        Column(
            "separation_arcsec",
            FLOAT,
            "arcsec",
            "From the source's position before this epoch; missing at birth",
            nullable=True,
            minimum=0,
        ),
        Column("de_ruiter", FLOAT, "", "de Ruiter radius of the pair; missing at birth", nullable=True, minimum=0),
        Column("copied", BOOL, "", "Whether a fork copied this row from its parent's history"),
    ),
    key=("source_id", "measurement_id"),
)

RELATIONS = TableSchema(
    "relations",
    "Pairs of sources that competed for the same measurement in this epoch",
    (
        Column("from_source_id", TEXT, "", "One source"),
        Column("to_source_id", TEXT, "", "The other"),
        Column(
            "kind",
            TEXT,
            "",
            "'fork' (one was forked from the other, or both from the same), 'shared' (both hold one measurement), "
            "'blend' (one measurement lies between both and only one of them holds it)",
        ),
    ),
    key=("from_source_id", "to_source_id"),
)

ALIGNMENT = TableSchema(
    "alignment",
    "Shift of each image against the sources known before, or, where there are too few, against the images that it "
    "overlaps; as taken out for matching only",
    (
        Column("image", TEXT, "", "Image"),
        Column("dra_arcsec", FLOAT, "arcsec", "Shift added to the measurements, east", nullable=True),
        Column("ddec_arcsec", FLOAT, "arcsec", "Shift added to the measurements, north", nullable=True),
        Column("dra_err_arcsec", FLOAT, "arcsec", "Its standard error", nullable=True, minimum=0),
        Column("ddec_err_arcsec", FLOAT, "arcsec", "Its standard error", nullable=True, minimum=0),
        Column("n_pairs", INT, "", "Pairs it was measured from", minimum=0),
        Column("applied", BOOL, "", "Whether it was taken out; false with too few pairs"),
        Column("warped", BOOL, "", "Whether what is left was taken out place by place, as it differs over the image"),
    ),
    key=("image",),
)

MERGES = TableSchema(
    "merges",
    "Sources that this epoch merged into another one, once for every earlier epoch that names them",
    (
        Column("source_id", TEXT, "", "The source that is no more"),
        Column("into_source_id", TEXT, "", "The one that has its measurements"),
        Column("epoch", TEXT, "", "An earlier epoch whose associations name the source that is no more"),
    ),
    key=("source_id", "epoch"),
)

FORKS = TableSchema(
    "forks",
    "Sources that split off another one in this epoch",
    (
        Column("parent_source_id", TEXT, "", "The source that was known before"),
        Column("child_source_id", TEXT, "", "The new one: hash of (parent, measurement)"),
        Column("measurement_id", TEXT, "", "Measurement of this epoch that gave birth to the new one"),
        Column("copies_history", BOOL, "", "Whether the new one also holds the parent's earlier measurements"),
    ),
    key=("child_source_id",),
)

STATE = TableSchema(
    "state",
    "All that the fold carries from epoch to epoch: one row per source, sorted by source_id. Where an epoch changed "
    "few of them, the store keeps those",
    (
        _SOURCE,
        Column(
            "ra_deg",
            FLOAT,
            "deg",
            "Weighted mean right ascension, ICRS, shifts of images taken out",
            minimum=0,
            maximum=360,
            maximum_exclusive=True,
            ucd="pos.eq.ra;meta.main",
        ),
        Column(
            "dec_deg",
            FLOAT,
            "deg",
            "Weighted mean declination, ICRS, shifts of images taken out",
            minimum=-90,
            maximum=90,
            ucd="pos.eq.dec;meta.main",
        ),
        Column("weight_ew_per_arcsec2", FLOAT, "arcsec-2", "Sum of the weights east", minimum=0),
        Column("weight_ns_per_arcsec2", FLOAT, "arcsec-2", "Sum of the weights north", minimum=0),
        Column(
            "ln_flux_peak",
            FLOAT,
            "",
            "Mean natural logarithm of the peak flux densities in mJy / beam, blends left out; missing where unknown",
            nullable=True,
        ),
        Column(
            "n_measurements",
            INT,
            "",
            "Measurements so far, copied ones included; 0 among changes: the source is gone, merged into another",
            minimum=0,
        ),
        Column("history_hash", INT, "", "Hash of the source's associations so far: equal hashes, equal histories"),
        Column(
            "twin_hash",
            INT,
            "",
            "Number of an older source within half a beam that was never seen in one image with this one; 0 for none",
        ),
    ),
    key=("source_id",),
)


def of_one_source(associations: pd.DataFrame) -> pd.DataFrame:
    """source_id and measurement_id of an epoch's own measurements that belong to one source each.

    A measurement of several sources is a blend or a fork, whose flux is nobody's; copied history is of other epochs.

    Parameters
    ----------
    associations : ASSOCIATIONS; without `copied`, nothing is
    """
    own = associations[~associations["copied"].to_numpy(dtype=bool)] if "copied" in associations else associations
    return own.loc[~own["measurement_id"].duplicated(keep=False), ["source_id", "measurement_id"]]
