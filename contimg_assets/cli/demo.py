"""`contimg simulate` and `contimg demo`: skies with known truth."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contimg_assets.cli.app import app, make_project, run_and_report
from contimg_assets.cli.console import command, console
from contimg_assets.errors import InputError

if TYPE_CHECKING:
    from contimg_assets.pipeline.project import Project
    from contimg_assets.simulate import SurveyParameters


_BANDS = Annotated[
    str, typer.Option(help="Frequencies at which every image is taken, one after the other, with commas between [MHz]")
]


_STOKES = Annotated[
    str, typer.Option(help="Stokes parameters in which every image is made, with commas between: I,V or I,Q,U,V")
]


def _parameters(stokes: str) -> list[str]:
    """The Stokes parameters beside I that the option names."""
    from contimg_assets.config import OTHER_STOKES, STOKES_I

    found = [part.strip().upper() for part in stokes.split(",")]
    if "I" not in found or len(set(found)) < len(found) or not set(found) <= {STOKES_I, *OTHER_STOKES}:
        raise InputError(f"--stokes {stokes!r}: give I and any of {', '.join(OTHER_STOKES)}, each once, such as I,V")
    return [one for one in found if one != STOKES_I]


def _frequencies(bands: str) -> list[float]:
    """The frequencies that the option names [MHz]."""
    try:
        found = [float(part) for part in bands.split(",")]
    except ValueError as error:
        raise InputError(f"--bands {bands!r}: give frequencies in MHz, such as 1405,2150") from error
    if len(set(found)) < len(found) or not all(10 <= one <= 1e6 for one in found):
        raise InputError(f"--bands {bands!r}: give each frequency once, from 10 to 1,000,000 MHz")
    return found


def _second_telescope(text: str | None) -> dict[str, Any] | None:
    """Parameters of the second telescope that the option names."""
    if text is None:
        return None
    try:
        freq, major, minor, rms = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"--telescope-2 {text!r}: give frequency [MHz], both axes of the beam [arcsec] and noise [mJy/beam], such "
            "as 887.5,15,12,2.5"
        ) from error
    return {"freq_mhz": freq, "bmaj_arcsec": major, "bmin_arcsec": minor, "rms_mjy_beam": (0.8 * rms, 1.2 * rms)}


@command(app)
def simulate(
    out: Annotated[Path, typer.Argument(help="Folder to write incoming/, catalogs/ and truth/ into")],
    epochs: Annotated[int, typer.Option(min=1, help="Number of epochs")] = 6,
    sources: Annotated[int, typer.Option(min=0, help="Number of true sources")] = 1500,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same survey")] = 1,
    dec_deg: Annotated[float, typer.Option(min=-90, max=90, help="Declination of the strip [deg]")] = 16.0,
    bands: _BANDS = "1405",
    stokes: _STOKES = "I",
    images: Annotated[bool, typer.Option("--images", help="Write the images too, as FITS (4 MB each)")] = False,
    artifacts: Annotated[
        float, typer.Option(min=0, max=1, help="Sidelobes and bowls around sources in the images, over their fluxes")
    ] = 0.0,
    telescope_2: Annotated[
        str | None,
        typer.Option(help="Every second epoch is of another telescope: MHz, beam axes [arcsec], noise [mJy/beam]"),
    ] = None,
) -> None:
    """Write a survey with known truth, DSA-110 like: variables, transients, doubles, offsets, overlapping images.

    Example: contimg simulate sky --epochs 4
    """
    from contimg_assets.simulate import SurveyParameters, simulate_survey

    first, *others = _frequencies(bands)
    parameters = SurveyParameters(
        n_epochs=epochs,
        n_sources=sources,
        seed=seed,
        centre_dec_deg=dec_deg,
        freq_mhz=first,
        other_bands_mhz=tuple(others),
        stokes=_parameters(stokes),
        artifact_fraction=artifacts,
        telescope_2=_second_telescope(telescope_2),
    )
    truth = simulate_survey(out, parameters, images=images)
    console.print(
        f"Wrote {len(truth.images)} images of {epochs} epoch(s) with {len(truth.measurements)} detections of "
        f"{len(truth.sources)} true sources to {out / 'incoming'}; what is true of them is in {out / 'truth'}."
    )


@command(app)
def demo(
    folder: Annotated[Path, typer.Argument(help="Project folder to make")] = Path("demo"),
    epochs: Annotated[int, typer.Option(min=2, help="Number of epochs")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same survey")] = 1,
    bands: _BANDS = "1405",
    images: Annotated[
        bool, typer.Option("--images", help="Write the images too, as FITS (4 MB each), and measure on them")
    ] = False,
    stokes: _STOKES = "I",
) -> None:
    """Simulate a survey, run the whole chain on it, and print what was recovered against the truth.

    Example: contimg demo --epochs 4
    """
    import yaml

    from contimg_assets.config import FILE_NAME, load_config
    from contimg_assets.simulate import SurveyParameters, SurveyTruth, format_report, score_survey, simulate_survey

    first, *others = _frequencies(bands)
    parameters = SurveyParameters(
        n_epochs=epochs, seed=seed, freq_mhz=first, other_bands_mhz=tuple(others), stokes=_parameters(stokes)
    )
    truth = simulate_survey(folder, parameters, images=images)
    console.print(
        f"Simulated {epochs} epochs of {parameters.images_per_epoch} images across RA 0: {len(truth.measurements)} "
        f"detections."
    )
    configuration = folder / FILE_NAME
    if not configuration.exists():
        configuration.write_text(yaml.safe_dump(demo_configuration(parameters), sort_keys=False), encoding="utf-8")
    make_project(folder)
    os.chdir(folder)
    project = run_and_report(load_config(FILE_NAME))
    read = project.products.read_table
    score = score_survey(
        SurveyTruth.read(Path("truth")),
        measurements=read("measurements"),
        associations=read("associations"),
        corrections=read("corrections"),
        sources=project.products.new_sources(parameters=project.config.variability),
        variability=read("variability"),
        cross_matches=read("cross_matches"),
    )
    console.print(format_report(score))
    if images:
        console.print(_what_forced_fluxes_changed(project))
    console.print(
        f"Next:  cd {folder}  then\n"
        "  dagster dev            the same assets and runs, at http://127.0.0.1:3000;\n"
        "                         it speaks of a temporary directory, but history is\n"
        "                         kept in .dagster\n"
        "  contimg web            light curves, lists of sources and the sky\n"
        "  contimg status         every stage of every epoch\n"
        "  contimg variables      what varies\n"
        "  contimg source RA,DEC  one source with its light curve and counterparts"
    )


def _what_forced_fluxes_changed(project: Project) -> str:
    """How many forced fluxes there are, and what they say of sources that catalogs alone call new, or that faded."""
    parameters, database = project.config.variability, project.products
    n_fluxes = int(database.query("SELECT COUNT(*) AS n FROM forced_fluxes WHERE reason = ''")["n"].item())
    with_images, without = (set(database.new_sources(parameters=parameters, forced=one)["id"]) for one in (True, False))
    return (
        f"{n_fluxes} forced fluxes where an image does not detect a source. By the catalogs alone {len(without)} "
        f"sources would be new; {len(without - with_images)} of them the images show before, as bright; "
        f"{len(with_images - without)} more are new by the images. {len(database.faded())} sources have faded in some "
        "image (`contimg faded`)."
    )


def demo_configuration(parameters: SurveyParameters) -> dict[str, Any]:
    """The configuration of a project on a simulated survey: its reference catalogs, and which one to prefer for what.

    Where the first one has too few matches, as outside its footprint, the next takes its place.
    """
    by_position = sorted(parameters.catalogs, key=lambda reference: reference.position_floor_arcsec)
    by_coverage = sorted(parameters.catalogs, key=lambda reference: -reference.covered_fraction)
    return {
        "catalogs": {
            reference.name: {
                "path": f"catalogs/{reference.name}.parquet",
                "freq_mhz": reference.freq_mhz,
                "beam_arcsec": reference.beam_arcsec,
            }
            for reference in parameters.catalogs
        },
        **({"stokes": {"sources": list(parameters.stokes)}} if parameters.stokes else {}),
        "corrections": {
            "position_catalogs": [reference.name for reference in by_position],
            "flux_catalogs": [reference.name for reference in by_coverage],
        },
    }
