"""`contimg images`: every image with its corrections and what is thought of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from contimg_assets.cli.app import app
from contimg_assets.cli.listings import Listing, listing
from contimg_assets.pipeline.verdicts import Verdict

if TYPE_CHECKING:
    import pandas as pd

# What people look at first; all columns go to files and other programs.
SHOWN = [
    "epoch",
    "image",
    "verdict",
    "dra_arcsec",
    "dra_err_arcsec",
    "ddec_arcsec",
    "ddec_err_arcsec",
    "n_position",
    "flux_mult",
    "flux_mult_err",
    "flux_tie_err",
    "n_flux",
    "flux_outlier_fraction",
    "reason",
]


@listing(app)
def images(
    epoch: Annotated[list[str] | None, typer.Option(help="Only this epoch (repeat the option for more)")] = None,
    verdict: Annotated[list[Verdict] | None, typer.Option(help="Only images of this verdict (repeat for more)")] = None,
) -> Listing:
    """List every image: its offset and flux scale with errors, outliers, whether it is used, and why not.

    Offsets are what is to be added to positions, as measured; fluxes are multiplied by `flux_mult`. Its error is the
    image's own; `flux_tie_err` is that of the absolute scale, as a fraction, common to the images of a field.

    Example: contimg images --verdict refused
    """
    found = _chosen(epoch or (), [one.value for one in verdict or ()])
    # Both directions of an offset are far.
    return Listing(found, "Images", SHOWN, absolute=("dra_arcsec", "ddec_arcsec"))


def _chosen(epochs: list[str] | tuple[()], verdicts: list[str]) -> pd.DataFrame:
    """Images with their corrections and verdicts; only of some epochs and verdicts, where any are named."""
    from contimg_assets.cli.products import open_products
    from contimg_assets.database.survey_summary import image_corrections
    from contimg_assets.pipeline.findings import verdicts as judged

    found = image_corrections(open_products())
    unknown = sorted(set(epochs) - set(found["epoch"]))
    if unknown:
        raise typer.BadParameter(f"no epoch {', '.join(unknown)} in the products; `contimg status` lists epochs")
    found.insert(2, "verdict", judged(found))
    if epochs:
        found = found[found["epoch"].isin(epochs)]
    return found[found["verdict"].isin(verdicts)] if verdicts else found
