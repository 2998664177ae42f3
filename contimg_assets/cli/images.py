"""`contimg images`: every image with its corrections and what is thought of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from contimg_assets.cli.app import app
from contimg_assets.cli.console import command, note, print_frame
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


@command(app)
def images(
    epoch: Annotated[list[str] | None, typer.Option(help="Only this epoch (repeat the option for more)")] = None,
    verdict: Annotated[list[Verdict] | None, typer.Option(help="Only images of this verdict (repeat for more)")] = None,
    sort: Annotated[str | None, typer.Option(help="Column to sort by, the largest first; by time if not given")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="All columns as CSV")] = False,
    json: Annotated[bool, typer.Option("--json", help="All columns as JSON, one object an image")] = False,
) -> None:
    """List every image: its offset and flux scale with errors, outliers, whether it is used, and why not.

    Offsets are what is to be added to positions, as measured; fluxes are multiplied by `flux_mult`. Its error is the
    image's own; `flux_tie_err` is that of the absolute scale, as a fraction, common to the images of a field.
    """
    found = _chosen(epoch or (), [one.value for one in verdict or ()])
    if sort is not None:
        if sort not in found:
            raise typer.BadParameter(f"no column {sort!r}; there are: {', '.join(map(str, found))}")
        # Both directions of an offset are far.
        key = abs if sort in ("dra_arcsec", "ddec_arcsec") else None
        found = found.sort_values(sort, ascending=False, kind="stable", key=key, na_position="last")
    shown = found if limit is None else found[:limit]
    if json:
        print(shown.to_json(orient="records", indent=1))
    elif csv:
        shown.to_csv(sys.stdout, index=False)
    else:
        print_frame(shown, "Images", SHOWN)
    if len(shown) < len(found):
        note(f"There are {len(found)}: --limit shows more.")


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
