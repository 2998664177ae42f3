"""How surveys publish their catalogs: names of columns, units where a file states none, flags, texts without a header.

One entry a survey, recognized by its columns, whatever the file is called. Finders' own catalogs are in
`ingest.readers`; the tables of VizieR, frequencies and errors are in `config.presets`. What each entry was compared
with is listed in `docs/formats.md`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from contimg_assets.ingest.readers import cirada
from contimg_assets.reading.columns import is_number

_Columns = Mapping[str, tuple[tuple[str, ...], str]]


@dataclass(frozen=True)
class Dialect:
    """One survey's tables.

    Parameters
    ----------
    survey : its preset's name, or what it is called
    signature : columns that, together, only its tables have; any of these groups
    columns : our column -> names that its files have for it, and the unit where a file states none
    usable : columns of flags -> values that mark usable rows; all others are left out
    left_out : columns of text -> values of rows that are left out, and why
    layouts : names of the columns of its text without a header, in each of its versions; `_TEXTS` hold no numbers
    islands : whether its rows are islands of emission, which may hold several components
    """

    survey: str
    signature: tuple[frozenset[str], ...]
    columns: _Columns
    usable: Mapping[str, frozenset[float]] = field(default_factory=dict)
    left_out: Mapping[str, tuple[frozenset[str], str]] = field(default_factory=dict)
    layouts: tuple[tuple[str, ...], ...] = ()
    islands: bool = False


def _one(*names: str) -> tuple[frozenset[str], ...]:
    return (frozenset(names),)


_PYBDSF_IN_MJY: _Columns = {
    "ra_deg": (("RA",), "deg"),
    "dec_deg": (("DEC", "Dec"), "deg"),
    "ra_err_arcsec": (("E_RA",), "arcsec"),
    "dec_err_arcsec": (("E_DEC", "E_Dec"), "arcsec"),
    "flux_mjy": (("Total_flux",), "mJy"),
    "flux_err_mjy": (("E_Total_flux",), "mJy"),
    "flux_peak_mjy_beam": (("Peak_flux",), "mJy"),
}
_AEGEAN_WIDE: _Columns = {
    "catalog_source_id": (("Name", "src_name", "GLEAM"), ""),
    "ra_deg": (("RAJ2000", "ref_ra"), "deg"),
    "dec_deg": (("DEJ2000", "ref_dec"), "deg"),
    "ra_err_arcsec": (("err_RAJ2000",), "deg"),
    "dec_err_arcsec": (("err_DEJ2000",), "deg"),
}
_GLEAM_WIDE: _Columns = {
    **_AEGEAN_WIDE,
    "flux_mjy": (("int_flux_wide",), "Jy"),
    "flux_err_mjy": (("err_int_flux_wide",), "Jy"),
    "flux_peak_mjy_beam": (("peak_flux_wide",), "Jy"),
    "spectral_index": (("alpha", "sp_alpha"), ""),
}
_WIDE_AT_VIZIER: _Columns = {
    "flux_mjy": (("Fintwide",), "Jy"),
    "flux_err_mjy": (("e_Fintwide",), "Jy"),
    "flux_peak_mjy_beam": (("Fpwide",), "Jy"),
    "spectral_index": (("alpha", "alpha-SP"), ""),
}
_REPEATED = "they repeat a source for each of its components"
_MOLONGLO = (
    *("RAh", "RAm", "RAs", "DEd", "DEm", "DEs", "e_RAJ2000", "e_DEJ2000"),
    *("Sp", "e_Sp", "St", "e_St", "MajAxis", "MinAxis", "PA"),
)
# Versions since 2008 have the probability of a sidelobe, older ones a warning, and a blank where there is none; those
# until 1997 have no axes as they were fitted.
_TEXTS = ("Field", "MGPS")
_PLACE, _FITTED = ("RAh", "RAm", "RAs", "DEd", "DEm", "DEs"), ("Fpeak", "Fint", "Rms", "Maj", "Min", "PA")
_FIRST = (
    (*_PLACE, "p(S)", *_FITTED, "fMaj", "fMin", "fPA", "Field"),
    (*_PLACE, *_FITTED, "fMaj", "fMin", "fPA", "Field"),
    (*_PLACE, *_FITTED, "Field"),
    (*_PLACE, "p(S)", *_FITTED),
    # What a search lists begins with the distance from the place that was asked for.
    ("Distance", *_PLACE, "p(S)", *_FITTED, "fMaj", "fMin", "fPA", "Field"),
    ("Distance", *_PLACE, *_FITTED, "fMaj", "fMin", "fPA", "Field"),
)
_OF_MOLONGLO: _Columns = {
    "ra_err_arcsec": (("e_RAJ2000",), "arcsec"),
    "dec_err_arcsec": (("e_DEJ2000",), "arcsec"),
    "flux_mjy": (("St",), "mJy"),
    "flux_err_mjy": (("e_St",), "mJy"),
    "flux_peak_mjy_beam": (("Sp",), "mJy"),
}

DIALECTS: tuple[Dialect, ...] = (
    Dialect(
        "vlass",
        _one("Component_name", "Duplicate_flag", "Quality_flag", "RA", "DEC", "Total_flux"),
        {
            **_PYBDSF_IN_MJY,
            "catalog_source_id": (("Component_name",), ""),
            "ra_err_arcsec": (("E_RA",), "deg"),
            "dec_err_arcsec": (("E_DEC",), "deg"),
        },
        usable=cirada.USABLE,
        left_out={"S_Code": (cirada.EMPTY, cirada.NOTHING_FITTED)},
    ),
    # The same survey as VizieR has it.
    Dialect(
        "vlass",
        _one("CompName", "DupFlag", "QualFlag"),
        {
            "catalog_source_id": (("CompName",), ""),
            "ra_deg": (("RAJ2000",), "deg"),
            "dec_deg": (("DEJ2000",), "deg"),
            "ra_err_arcsec": (("e_RAJ2000",), "deg"),
            "dec_err_arcsec": (("e_DEJ2000",), "deg"),
            "flux_mjy": (("Ftot",), "mJy"),
            "flux_err_mjy": (("e_Ftot",), "mJy"),
            "flux_peak_mjy_beam": (("Fpeak",), "mJy"),
        },
        usable=cirada.USABLE_AT_VIZIER,
        left_out={"SCode": (cirada.EMPTY, cirada.NOTHING_FITTED)},
    ),
    Dialect(
        "lotss",
        (
            frozenset({"Source_Name", "RA", "E_RA", "Total_flux", "Mosaic_ID"}),
            frozenset({"Source_Name", "RA", "E_RA", "Total_flux", "S_Code", "Isl_rms"}),
        ),
        {**_PYBDSF_IN_MJY, "catalog_source_id": (("Source_Name",), "")},
    ),
    # The same survey as the CDS and VizieR have it.
    Dialect(
        "lotss",
        _one("Source", "Speak", "SpeakTot"),
        {
            "catalog_source_id": (("Source",), ""),
            "ra_err_arcsec": (("e_RAdeg", "e_RAJ2000"), "arcsec"),
            "dec_err_arcsec": (("e_DEdeg", "e_DEJ2000"), "arcsec"),
            "flux_mjy": (("SpeakTot",), "mJy"),
            "flux_err_mjy": (("e_SpeakTot",), "mJy"),
            "flux_peak_mjy_beam": (("Speak",), "mJy"),
        },
    ),
    Dialect(
        "tgss",
        _one("Source_name", "RA", "E_RA", "Total_flux", "RMS_noise"),
        {**_PYBDSF_IN_MJY, "catalog_source_id": (("Source_name",), "")},
    ),
    # The same survey as the Virtual Observatory of ASTRON has it.
    Dialect(
        "tgss",
        _one("ID", "RA", "DEC", "Sint", "Spk", "Island_RMS", "Mosaic_Name"),
        {
            "catalog_source_id": (("ID",), ""),
            "ra_err_arcsec": (("e_RA",), "arcsec"),
            "dec_err_arcsec": (("e_DEC",), "arcsec"),
            "flux_mjy": (("Sint",), "mJy"),
            "flux_err_mjy": (("e_Sint",), "mJy"),
            "flux_peak_mjy_beam": (("Spk",), "mJy"),
        },
    ),
    Dialect(
        "racs-low",
        (
            frozenset({"total_flux_source", "ra", "dec", "e_ra"}),
            frozenset({"Total_flux_Source", "RA", "Dec", "E_RA"}),
            frozenset({"total_flux_gaussian", "ra", "dec", "e_ra"}),
            frozenset({"Total_flux_Gaussian", "RA", "Dec", "E_RA"}),
        ),
        {
            "catalog_source_id": (
                ("source_name", "Source_Name", "gaussian_id", "Gaussian_ID", "source_id", "Source_ID"),
                "",
            ),
            "ra_deg": (("ra", "RA"), "deg"),
            "dec_deg": (("dec", "Dec"), "deg"),
            "ra_err_arcsec": (("e_ra", "E_RA"), "arcsec"),
            "dec_err_arcsec": (("e_dec", "E_Dec"), "arcsec"),
            # Of a table of Gaussians, their own fluxes and not those of the sources that they belong to.
            "flux_mjy": (
                ("total_flux_gaussian", "Total_flux_Gaussian", "total_flux_source", "Total_flux_Source"),
                "mJy",
            ),
            "flux_err_mjy": (
                (
                    *("e_total_flux_gaussian", "E_Total_flux_Gaussian", "e_total_flux_source", "E_Total_flux_Source"),
                    *("e_total_flux_gaussian_pybdsf", "e_total_flux_source_pybdsf"),
                ),
                "mJy",
            ),
            "flux_peak_mjy_beam": (("peak_flux", "Peak_flux"), "mJy"),
        },
    ),
    # RACS-mid and RACS-high: declinations are published as measured and as corrected.
    Dialect(
        "racs-mid",
        _one("Name", "Field_ID", "RA", "Dec", "Dec_corr", "Total_flux"),
        {
            **_PYBDSF_IN_MJY,
            "catalog_source_id": (("Name",), ""),
            "dec_deg": (("Dec_corr",), "deg"),
            "dec_err_arcsec": (("E_Dec_corr", "E_Dec"), "arcsec"),
        },
    ),
    # As the code that writes it names the columns of its wide image, the band and the power law among many others.
    Dialect("gleam-x", _one("RAJ2000", "DEJ2000", "int_flux_wide", "sp_alpha"), _GLEAM_WIDE),
    Dialect("gleam", _one("RAJ2000", "DEJ2000", "int_flux_wide"), _GLEAM_WIDE),
    # The brightest sources of GLEAM, each at its centroid with the flux of all of its components.
    Dialect(
        "g4jy",
        (
            frozenset({"G4Jy_name", "centroid_RAJ2000", "total_int_flux_151"}),
            frozenset({"G4Jy", "FintTot151"}),
        ),
        {
            "catalog_source_id": (("G4Jy_name", "G4Jy"), ""),
            "ra_deg": (("centroid_RAJ2000", "RAJ2000", "RAdeg"), "deg"),
            "dec_deg": (("centroid_DEJ2000", "DEJ2000", "DEdeg"), "deg"),
            "ra_err_arcsec": (("err_centroid_RAJ2000", "e_RAJ2000", "e_RAdeg"), "arcsec"),
            "dec_err_arcsec": (("err_centroid_DEJ2000", "e_DEJ2000", "e_DEdeg"), "arcsec"),
            "flux_mjy": (("total_int_flux_151", "FintTot151"), "Jy"),
            "flux_err_mjy": (("err_total_int_flux_151", "e_FintTot151"), "Jy"),
            "spectral_index": (("G4Jy_alpha", "alphaG4Jy"), ""),
        },
        left_out=dict.fromkeys(("G4Jy_component", "m_G4Jy"), (frozenset("BCDE"), _REPEATED)),
    ),
    # The same surveys as VizieR has them.
    Dialect("gleam", _one("GLEAM", "Fintwide"), {"catalog_source_id": (("GLEAM",), ""), **_WIDE_AT_VIZIER}),
    Dialect("gleam-x", _one("GLEAM-X", "Fintwide"), {"catalog_source_id": (("GLEAM-X",), ""), **_WIDE_AT_VIZIER}),
    Dialect(
        "mwacs",
        _one("MWACS", "S180"),
        {
            "catalog_source_id": (("MWACS",), ""),
            "flux_mjy": (("S180",), "Jy"),
            "flux_err_mjy": (("e_S180",), "Jy"),
            "spectral_index": (("SpInd",), ""),
        },
    ),
    Dialect(
        "gleam-x",
        (
            frozenset({"RAJ2000", "DEJ2000", "int_flux", "err_RAJ2000"}),
            frozenset({"ref_ra", "ref_dec", "int_flux", "peak_flux"}),
        ),
        {
            **_AEGEAN_WIDE,
            "flux_mjy": (("int_flux",), "Jy"),
            "flux_err_mjy": (("err_int_flux",), "Jy"),
            "flux_peak_mjy_beam": (("peak_flux",), "Jy"),
            "spectral_index": (("sp_alpha", "pl_alpha"), ""),
        },
    ),
    Dialect(
        "sumss",
        _one("RAh", "RAm", "RAs", "DEd", "DEm", "DEs", "St", "Sp"),
        _OF_MOLONGLO,
        layouts=(_MOLONGLO,),
    ),
    Dialect("mgps", (), _OF_MOLONGLO, layouts=(_MOLONGLO, ("MGPS", "GLON", "GLAT", *_MOLONGLO))),
    Dialect(
        "first",
        _one("RAh", "RAm", "RAs", "DEd", "DEm", "DEs", "Fpeak", "Fint"),
        {
            "flux_mjy": (("Fint",), "mJy"),
            "flux_peak_mjy_beam": (("Fpeak",), "mJy"),
            "flux_err_mjy": (("Rms", "RMS"), "mJy"),
        },
        layouts=_FIRST,
    ),
    Dialect(
        "first",
        _one("RA", "DEC", "SIDEPROB", "FPEAK", "FINT"),
        {
            "ra_deg": (("RA",), "deg"),
            "dec_deg": (("DEC",), "deg"),
            "flux_mjy": (("FINT",), "mJy"),
            "flux_peak_mjy_beam": (("FPEAK",), "mJy"),
            "flux_err_mjy": (("RMS",), "mJy"),
        },
    ),
    Dialect(
        "mrc",
        _one("MRC", "S408"),
        {
            "catalog_source_id": (("MRC",), ""),
            "ra_err_arcsec": (("e_RA2000",), "s"),
            "dec_err_arcsec": (("e_DE2000",), "arcsec"),
            "flux_mjy": (("S408",), "Jy"),
            "flux_err_mjy": (("e_S408",), "Jy"),
        },
    ),
    Dialect(
        "nvss",
        _one("NVSS", "S1.4"),
        {
            "catalog_source_id": (("NVSS",), ""),
            "ra_err_arcsec": (("e_RAJ2000", "e_RAs"), "s"),
            "dec_err_arcsec": (("e_DEJ2000", "e_DEs"), "arcsec"),
            "flux_mjy": (("S1.4",), "mJy"),
            "flux_err_mjy": (("e_S1.4",), "mJy"),
        },
    ),
    Dialect(
        "islands of Selavy",
        _one("island_id", "n_components", "ra_deg_cont", "dec_deg_cont"),
        {
            "catalog_source_id": (("island_name",), ""),
            "ra_deg": (("ra_deg_cont",), "deg"),
            "dec_deg": (("dec_deg_cont",), "deg"),
            "flux_mjy": (("flux_int",), "mJy"),
            "flux_err_mjy": (("flux_int_err",), "mJy"),
            "flux_peak_mjy_beam": (("flux_peak",), "mJy"),
        },
        islands=True,
    ),
    Dialect(
        "islands of Aegean",
        _one("island", "components", "ra", "dec", "int_flux", "max_angular_size"),
        {
            "ra_deg": (("ra",), "deg"),
            "dec_deg": (("dec",), "deg"),
            "flux_mjy": (("int_flux",), "Jy"),
            "flux_err_mjy": (("err_int_flux",), "Jy"),
            "flux_peak_mjy_beam": (("peak_flux",), "Jy"),
        },
        islands=True,
    ),
    Dialect(
        "vlssr",
        (frozenset({"VLSSr", "Si"}), frozenset({"VLSS", "Si"}), frozenset({"VLSSr", "Sp"})),
        {
            "catalog_source_id": (("VLSSr", "VLSS"), ""),
            "flux_mjy": (("Si", "Sp"), "Jy"),
            "flux_err_mjy": (("e_Si", "e_Sp"), "Jy"),
            "flux_peak_mjy_beam": (("Sp",), "Jy"),
        },
    ),
    Dialect(
        "gaia",
        _one("source_id", "ra", "dec", "ref_epoch", "pmra", "pmdec"),
        {
            "catalog_source_id": (("designation",), ""),
            "ra_deg": (("ra",), "deg"),
            "dec_deg": (("dec",), "deg"),
            "ra_err_arcsec": (("ra_error",), "mas"),
            "dec_err_arcsec": (("dec_error",), "mas"),
        },
    ),
    Dialect(
        "psrcat",
        (frozenset({"RAJ", "DECJ", "PSRJ"}), frozenset({"RAJ", "DECJ", "NAME"}), frozenset({"RAJD", "DECJD", "JNAME"})),
        {
            "catalog_source_id": (("PSRJ", "JNAME", "NAME"), ""),
            "ra_deg": (("RAJD", "RAJ"), ""),
            "dec_deg": (("DECJD", "DECJ"), ""),
            "ra_err_arcsec": (("RAJ_ERR",), "s"),
            "dec_err_arcsec": (("DECJ_ERR",), "arcsec"),
            "flux_mjy": (("S1400", "S400"), "mJy"),
            "flux_err_mjy": (("S1400_ERR", "S400_ERR"), "mJy"),
            "spectral_index": (("SPINDX",), ""),
        },
    ),
)


def dialect_of(columns: Collection[str]) -> Dialect | None:
    """The survey whose table has these columns, whatever their case."""
    present = {name.lower() for name in columns}
    return next(
        (one for one in DIALECTS for signature in one.signature if {name.lower() for name in signature} <= present),
        None,
    )


def layout_of(survey: str | None, first_row: list[str]) -> list[str] | None:
    """Names of the columns of a survey's text without a header, as many as its first row has; None if it has none.

    A name before the position counts as one column more.
    """
    layouts = next((one.layouts for one in DIALECTS if one.survey == survey and one.layouts), ())
    named = [] if not first_row or is_number(first_row[0]) else ["Name"]
    row = first_row[len(named) :]
    if len(row) > len(_PLACE) and len(row[len(_PLACE)]) == 1 and row[len(_PLACE)].isalpha():
        # A warning, which other rows do not have.
        row = [*row[: len(_PLACE)], *row[len(_PLACE) + 1 :]]
    layout = next((one for one in layouts if len(row) >= len(one) and _fits(one, row)), None)
    if layout is None:
        return None
    names = [*named, *layout]
    return names + [f"column {n}" for n in range(len(names) + 1, len(named) + len(row) + 1)]


def _fits(layout: tuple[str, ...], row: list[str]) -> bool:
    """Whether a row has numbers, or dashes for none, where a layout has them, and neither where it has a text.

    Declinations have signs in all of these texts: numbers alone would fit one column further, too.
    """
    cells = list(zip(layout, row, strict=False))
    return all((is_number(word) or not word.strip("-")) != (name in _TEXTS) for name, word in cells) and all(
        word.startswith(("+", "-")) for name, word in cells if name == "DEd"
    )
