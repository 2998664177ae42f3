"""`reference/<catalogue>`: the catalogs that measurements are matched to, one asset each, sorted by HEALPix."""

import dagster as dg

from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import Config
from contimg_assets.orchestration.columns import COLUMN_SCHEMA, columns_of
from contimg_assets.orchestration.conditions import on_delivery
from contimg_assets.orchestration.epoch_assets import OWNERS
from contimg_assets.pipeline.survey_tables import catalog_code_version, make_catalog
from contimg_assets.schemas.catalogs import REFERENCE


def catalog_file_key(name: str) -> dg.AssetKey:
    """Key of the external asset that stands for a catalog's file."""
    return dg.AssetKey(["reference_files", name])


def build(config: Config) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The assets of all configured catalogs, and those that stand for their files."""
    return [asset for name in config.catalogs for asset in _build_one(config, name)]


def _build_one(config: Config, name: str) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The asset of one catalog and the external one for its file."""
    catalog = config.catalogs[name]
    source = dg.AssetSpec(
        catalog_file_key(name),
        group_name="inputs",
        description=f"The file of the catalog {name!r} as configured: `{catalog.url or catalog.path}`.",
        kinds={"file"},
    )

    @dg.asset(
        key=["reference", name],
        deps=[source],
        group_name="reference",
        owners=OWNERS,
        kinds={"astropy", "parquet"},
        io_manager_key="store",
        code_version=catalog_code_version(catalog),
        automation_condition=on_delivery(),
        description=f"Reference catalog {name} at {catalog.freq_mhz:g} MHz, in our columns and units [deg, arcsec, "
        f"mJy], sorted by HEALPix.",
        metadata={COLUMN_SCHEMA: columns_of(REFERENCE)},
    )
    def reference(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster reads the bare class
        table = make_catalog(config, name)
        made = ReferenceCatalog(name, table)
        return dg.MaterializeResult(
            value=table,
            data_version=dg.DataVersion(made.version),
            metadata={
                "dagster/row_count": len(made),
                "frequency [MHz]": catalog.freq_mhz,
                "beam [arcsec]": catalog.beam_arcsec,
            }
            | ({} if catalog.epoch_mjd is None else {"mean epoch of its observations [MJD]": catalog.epoch_mjd}),
        )

    return [source, reference]
