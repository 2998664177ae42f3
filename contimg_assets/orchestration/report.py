"""`report`: the survey as one HTML page for mail and archives; made when somebody asks for it."""

import dagster as dg

from contimg_assets.config import Config
from contimg_assets.database import ProductsDatabase
from contimg_assets.files import replace_text
from contimg_assets.orchestration.assets.products import PRODUCT_KEYS
from contimg_assets.orchestration.epoch_assets import OWNERS

KEY = dg.AssetKey("report")
FOLDER = "reports"


def build(config: Config) -> list[dg.AssetsDefinition]:
    """The asset, for a configuration."""

    # Without a condition: to draw all pictures again every night would make every night slower.
    @dg.asset(
        key=KEY,
        deps=[key for key in PRODUCT_KEYS if key.path[-1] in ("sources", "variability", "corrections")],
        group_name="products",
        owners=OWNERS,
        kinds={"html"},
        description="The survey as one HTML page with its pictures within: what needs eyes, variables and new sources "
        "with light curves, images over time. Materialize it when you want one, or give it a schedule; `contimg "
        "report` writes the same, and `contimg report EPOCH` that of a night.",
    )
    def report(database: dg.ResourceParam[ProductsDatabase]) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster reads the bare class
        # Loaded when somebody asks for a page: every process of Dagster's loads this module, and matplotlib takes long.
        from contimg_assets.pipeline.report import survey_report

        file = config.root / FOLDER / "survey.html"
        file.parent.mkdir(exist_ok=True)
        text = survey_report(config, database)
        replace_text(file, text)
        return dg.MaterializeResult(
            metadata={
                "page": dg.MetadataValue.url(file.resolve().as_uri()),
                "file": dg.MetadataValue.path(file),
                "size [bytes]": len(text.encode()),
            }
        )

    return [report]
