"""`contimg cutout`: what the images show at the place of a source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contimg_assets.cli.app import app
from contimg_assets.cli.console import command, console, note, open_project, print_frame
from contimg_assets.cli.products import SourceArgument, open_products
from contimg_assets.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from contimg_assets.photometry.cutouts import SourceCutout, SourceCutouts


@command(app)
def cutout(
    what: SourceArgument,
    epochs: Annotated[list[str] | None, typer.Option(help="Only this epoch (repeat the option for more)")] = None,
    size: Annotated[float | None, typer.Option(min=0, help="Side of a cutout [arcsec]; ten beams if not given")] = None,
    out: Annotated[Path, typer.Option(help="Folder to write into")] = Path("cutouts"),
    radius_arcsec: Annotated[float, typer.Option(min=0)] = 30.0,
) -> None:
    """Cut a source out of every image that covers it, as FITS and as a PNG strip over time, with forced fluxes.

    Needs the FITS images, which images.csv names in `path`. A forced flux is the peak at the place of the source,
    detected there or not, from the pixels themselves; it is corrected like the others.

    Example: contimg cutout J0359+1535 --size 120
    """
    from contimg_assets.pipeline.cutouts import source_cutouts

    database = open_products()
    source_id = database.find_source(what, radius_arcsec)
    found = source_cutouts(open_project().config, database, source_id, epochs=epochs or (), size_arcsec=size)
    for sentence in found.left_out:
        note(sentence)
    if not found.cutouts:
        raise InputError(f"no image of source {source_id} can be cut out; name FITS images in the column 'path'")
    strip = _write(found, out)
    print_frame(_table(found.cutouts), f"Source {source_id} on {len(found.cutouts)} image(s)")
    console.print(f"Wrote {len(found.cutouts)} FITS file(s) and {strip.name} to {strip.parent}.", soft_wrap=True)


def _write(found: SourceCutouts, out: Path) -> Path:
    from astropy.io import fits

    from contimg_assets.figures.cutouts import plot_cutouts
    from contimg_assets.files.replacing import replacing
    from contimg_assets.files.troubles import writing_to

    folder = out / found.source_id
    strip = folder / f"{found.source_id}.png"
    with writing_to(folder, None):
        folder.mkdir(parents=True, exist_ok=True)
        for one in found.cutouts:
            header = one.cutout.header()
            header["OBJECT"] = found.source_id
            header["MJD-AVG"] = (one.mjd, "[d] UTC")
            with replacing(folder / f"{one.epoch}_{one.image}.fits", kept=False) as file:
                fits.PrimaryHDU(one.cutout.image.pixels.astype("float32"), header).writeto(file)
        with replacing(strip, kept=False) as file:
            file.write_bytes(plot_cutouts(found.cutouts))
    return strip


def _table(cutouts: tuple[SourceCutout, ...]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {
            "epoch": [one.epoch for one in cutouts],
            "image": [one.image for one in cutouts],
            "mjd": [one.mjd for one in cutouts],
            "forced_mjy_beam": [one.forced_mjy_beam for one in cutouts],
            "forced_err_mjy_beam": [one.forced_err_mjy_beam for one in cutouts],
            "detected_mjy_beam": [one.detected_mjy_beam for one in cutouts],
            "detected_err_mjy_beam": [one.detected_err_mjy_beam for one in cutouts],
            "local_rms_mjy_beam": [one.cutout.flux["local_rms_mjy_beam"] for one in cutouts],
            "reason": [one.cutout.flux["reason"] for one in cutouts],
        }
    )
