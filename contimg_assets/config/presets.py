"""What is known of the surveys that radio images are compared with: columns, frequency, beam, position errors.

A preset holds the keys of `CatalogConfig` that belong to the survey and not to a file, for the tables as VizieR serves
them (``vizier``); a column map in the configuration goes before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from contimg_assets.errors import meant


@dataclass(frozen=True)
class Preset:
    """One survey; ``columns`` is our column -> (column, unit or None) of the VizieR table."""

    title: str
    vizier: str
    freq_mhz: float
    beam_arcsec: float
    columns: Mapping[str, tuple[str, str | None]]
    reference: str
    position_err_arcsec: float = 1.0
    rms_mjy_beam: float | None = None
    position_err_floor_arcsec: float = 0.0
    ra_err_on_sky: bool = True
    epoch_mjd: float | None = None
    # Tables beside the first, and which rows of them are usable (ADQL).
    extra_tables: tuple[str, ...] = field(default=())
    where: str | None = None

    def settings(self) -> dict[str, Any]:
        """The keys and values of a `CatalogConfig` that this survey decides."""
        return {
            "freq_mhz": self.freq_mhz,
            "beam_arcsec": self.beam_arcsec,
            "position_err_arcsec": self.position_err_arcsec,
            "rms_mjy_beam": self.rms_mjy_beam,
            "position_err_floor_arcsec": self.position_err_floor_arcsec,
            "ra_err_on_sky": self.ra_err_on_sky,
            "epoch_mjd": self.epoch_mjd,
            "columns": {ours: {"column": name, "unit": unit} for ours, (name, unit) in self.columns.items()},
        }


_J2000: dict[str, tuple[str, str | None]] = {"ra_deg": ("RAJ2000", None), "dec_deg": ("DEJ2000", None)}

PRESETS: dict[str, Preset] = {
    "nvss": Preset(
        "NVSS, 1.4 GHz",
        "VIII/65/nvss",
        1400.0,
        45.0,
        _J2000
        | {
            "catalog_source_id": ("NVSS", None),
            # Seconds of time in the published table, hence not on the sky.
            "ra_err_arcsec": ("e_RAJ2000", "15 arcsec"),
            "dec_err_arcsec": ("e_DEJ2000", "arcsec"),
            "flux_mjy": ("S1.4", "mJy"),
            "flux_err_mjy": ("e_S1.4", "mJy"),
        },
        "Condon et al. 1998, AJ 115, 1693",
        position_err_arcsec=1.0,
        rms_mjy_beam=0.45,
        ra_err_on_sky=False,
        epoch_mjd=49700.0,
    ),
    "first": Preset(
        "FIRST, 1.4 GHz (2014 Dec 17)",
        "VIII/92/first14",
        1400.0,
        5.4,
        _J2000
        | {
            "catalog_source_id": ("FIRST", None),
            "flux_mjy": ("Fint", "mJy"),
            "flux_peak_mjy_beam": ("Fpeak", "mJy"),
            "flux_err_mjy": ("Rms", "mJy"),
        },
        "Helfand, White & Becker 2015, ApJ 801, 26",
        # rms of bright point sources; errors at the limit are those of the beam and the noise.
        position_err_arcsec=0.22,
        rms_mjy_beam=0.14,
        epoch_mjd=51000.0,
    ),
    "sumss": Preset(
        "SUMSS, 843 MHz",
        "VIII/81B/sumss212",
        843.0,
        45.0,
        _J2000
        | {
            "ra_err_arcsec": ("e_RAJ2000", None),
            "dec_err_arcsec": ("e_DEJ2000", None),
            "flux_mjy": ("St", "mJy"),
            "flux_err_mjy": ("e_St", "mJy"),
            "flux_peak_mjy_beam": ("Sp", "mJy"),
        },
        "Mauch et al. 2003, MNRAS 342, 1117",
        position_err_arcsec=1.5,
        rms_mjy_beam=1.0,
        epoch_mjd=51900.0,
    ),
    "racs-low": Preset(
        "RACS-low, 887.5 MHz (components outside the plane)",
        "J/other/PASA/38.58/gausscut",
        887.5,
        25.0,
        _J2000
        | {
            "catalog_source_id": ("GID", None),
            "ra_err_arcsec": ("e_RAJ2000", None),
            "dec_err_arcsec": ("e_DEJ2000", None),
            "flux_mjy": ("Ftot", "mJy"),
            "flux_err_mjy": ("e_Ftot", "mJy"),
            "flux_peak_mjy_beam": ("Fpk", "mJy"),
        },
        "Hale et al. 2021, PASA 38, e058",
        # Residual offsets of the survey against VLBI frames after its own corrections.
        position_err_arcsec=0.3,
        rms_mjy_beam=0.25,
        position_err_floor_arcsec=0.5,
        epoch_mjd=58650.0,
        extra_tables=("J/other/PASA/38.58/gaussreg",),
    ),
    "racs-mid": Preset(
        "RACS-mid, 1367.5 MHz",
        "J/other/PASA/41.3/sourcesm",
        1367.5,
        10.0,
        _J2000
        | {
            "catalog_source_id": ("RACS-MID1", None),
            "ra_err_arcsec": ("e_RAJ2000", None),
            # Declinations are published as measured and as corrected.
            "dec_deg": ("DEdegc", None),
            "dec_err_arcsec": ("e_DEdegc", None),
            "flux_mjy": ("Ftot", "mJy"),
            "flux_err_mjy": ("e_Ftot", "mJy"),
            "flux_peak_mjy_beam": ("Fpeak", "mJy"),
        },
        "Duchesne et al. 2024, PASA 41, e003",
        position_err_arcsec=0.3,
        rms_mjy_beam=0.2,
        # Scatter of compact sources against the ICRF3: 0.65 east, 0.97 north.
        position_err_floor_arcsec=0.65,
        epoch_mjd=59300.0,
    ),
    "racs-high": Preset(
        "RACS-high, 1655.5 MHz",
        "J/other/PASA/42.38/sourcesh",
        1655.5,
        10.0,
        _J2000
        | {
            "catalog_source_id": ("RACS-HIGH1", None),
            "ra_err_arcsec": ("e_RAJ2000", None),
            # Declinations are published as measured and as corrected.
            "dec_deg": ("DEdegc", None),
            "dec_err_arcsec": ("e_DEdegc", None),
            "flux_mjy": ("Ftot", "mJy"),
            "flux_err_mjy": ("e_Ftot", "mJy"),
            "flux_peak_mjy_beam": ("Fpeak", "mJy"),
        },
        "Duchesne et al. 2025, PASA 42, e038",
        position_err_arcsec=0.3,
        rms_mjy_beam=0.2,
        position_err_floor_arcsec=0.65,
        epoch_mjd=59600.0,
    ),
    "vlass": Preset(
        "VLASS epoch 1 Quick Look components, 3 GHz",
        "J/ApJS/255/30/comp",
        3000.0,
        2.5,
        _J2000
        | {
            "catalog_source_id": ("CompName", None),
            "ra_err_arcsec": ("e_RAJ2000", "deg"),
            "dec_err_arcsec": ("e_DEJ2000", "deg"),
            "flux_mjy": ("Ftot", "mJy"),
            "flux_err_mjy": ("e_Ftot", "mJy"),
            "flux_peak_mjy_beam": ("Fpeak", "mJy"),
        },
        "Gordon et al. 2021, ApJS 255, 30",
        # Quick Look astrometry of the first epoch.
        position_err_arcsec=0.2,
        rms_mjy_beam=0.13,
        position_err_floor_arcsec=0.25,
        epoch_mjd=58300.0,
        # Flagged duplicates and sidelobes are in the table too, and islands that nothing was fitted to.
        where='"DupFlag" < 2 AND ("QualFlag" = 0 OR "QualFlag" = 4) AND "SCode" <> \'E\'',
    ),
    "tgss": Preset(
        "TGSS ADR1, 147.5 MHz",
        "J/A+A/598/A78/table3",
        147.5,
        25.0,
        _J2000
        | {
            "catalog_source_id": ("TGSSADR", None),
            "ra_err_arcsec": ("e_RAJ2000", None),
            "dec_err_arcsec": ("e_DEJ2000", None),
            "flux_mjy": ("Stotal", "mJy"),
            "flux_err_mjy": ("e_Stotal", "mJy"),
            "flux_peak_mjy_beam": ("Speak", "mJy"),
        },
        "Intema et al. 2017, A&A 598, A78",
        position_err_arcsec=1.5,
        rms_mjy_beam=3.5,
        epoch_mjd=55600.0,
    ),
    "gleam": Preset(
        "GLEAM EGC, 200 MHz wide band",
        "VIII/100/gleamegc",
        200.0,
        120.0,
        _J2000
        | {
            "catalog_source_id": ("GLEAM", None),
            "ra_err_arcsec": ("e_RAJ2000", None),
            "dec_err_arcsec": ("e_DEJ2000", None),
            "flux_mjy": ("Fintwide", "Jy"),
            "flux_err_mjy": ("e_Fintwide", "Jy"),
            "flux_peak_mjy_beam": ("Fpwide", "Jy"),
            "spectral_index": ("alpha", None),
        },
        "Hurley-Walker et al. 2017, MNRAS 464, 1146",
        position_err_arcsec=2.0,
        rms_mjy_beam=8.0,
        epoch_mjd=56700.0,
    ),
    "gleam-x": Preset(
        "GLEAM-X, 200 MHz wide band",
        "VIII/113/catalog2",
        200.0,
        75.0,
        _J2000
        | {
            "catalog_source_id": ("GLEAM-X", None),
            "ra_err_arcsec": ("e_RAJ2000", None),
            "dec_err_arcsec": ("e_DEJ2000", None),
            "flux_mjy": ("Fintwide", "Jy"),
            "flux_err_mjy": ("e_Fintwide", "Jy"),
            "flux_peak_mjy_beam": ("Fpwide", "Jy"),
            "spectral_index": ("alpha-SP", None),
        },
        "Ross et al. 2024, PASA 41, e054",
        position_err_arcsec=2.0,
        rms_mjy_beam=1.3,
        epoch_mjd=58600.0,
    ),
    "g4jy": Preset(
        "G4Jy, the brightest sources of GLEAM, 151 MHz",
        "VIII/105/catalog",
        151.0,
        120.0,
        _J2000
        | {
            "catalog_source_id": ("G4Jy", None),
            "ra_err_arcsec": ("e_RAJ2000", None),
            "dec_err_arcsec": ("e_DEJ2000", None),
            "flux_mjy": ("FintTot151", "Jy"),
            "flux_err_mjy": ("e_FintTot151", "Jy"),
            "spectral_index": ("alphaG4Jy", None),
        },
        "White et al. 2020, PASA 37, e018",
        position_err_arcsec=2.0,
        epoch_mjd=56700.0,
        # A source has a row for each of its components, with the same position and total flux.
        where="(\"m_G4Jy\" IS NULL OR \"m_G4Jy\" NOT IN ('B', 'C', 'D', 'E'))",
    ),
    "mwacs": Preset(
        "MWACS, 180 MHz",
        "VIII/98/mwacs",
        180.0,
        180.0,
        _J2000
        | {
            "catalog_source_id": ("MWACS", None),
            "ra_err_arcsec": ("e_RAJ2000", None),
            "dec_err_arcsec": ("e_DEJ2000", None),
            "flux_mjy": ("S180", "Jy"),
            "flux_err_mjy": ("e_S180", "Jy"),
            "spectral_index": ("SpInd", None),
        },
        "Hurley-Walker et al. 2014, PASA 31, e045",
        position_err_arcsec=20.0,
        rms_mjy_beam=40.0,
        epoch_mjd=56200.0,
    ),
    "lotss": Preset(
        "LoTSS DR2 and DR3, 144 MHz",
        "J/A+A/659/A1/catalog",
        144.0,
        6.0,
        _J2000
        | {
            "catalog_source_id": ("Source", None),
            "ra_err_arcsec": ("e_RAJ2000", None),
            "dec_err_arcsec": ("e_DEJ2000", None),
            "flux_mjy": ("SpeakTot", "mJy"),
            "flux_err_mjy": ("e_SpeakTot", "mJy"),
            "flux_peak_mjy_beam": ("Speak", "mJy"),
        },
        "Shimwell et al. 2022, A&A 659, A1",
        position_err_arcsec=0.5,
        rms_mjy_beam=0.083,
        position_err_floor_arcsec=0.2,
        epoch_mjd=58000.0,
    ),
    "mgps": Preset(
        "MGPS-2, 843 MHz",
        "VIII/82/mgpscat",
        843.0,
        45.0,
        _J2000
        | {
            "catalog_source_id": ("MGPS", None),
            "ra_err_arcsec": ("e_RAJ2000", None),
            "dec_err_arcsec": ("e_DEJ2000", None),
            "flux_mjy": ("St", "mJy"),
            "flux_err_mjy": ("e_St", "mJy"),
            "flux_peak_mjy_beam": ("Sp", "mJy"),
        },
        "Murphy et al. 2007, MNRAS 382, 382",
        position_err_arcsec=1.5,
        rms_mjy_beam=1.5,
        epoch_mjd=52000.0,
    ),
    "mrc": Preset(
        "Molonglo Reference Catalogue, 408 MHz",
        "VIII/16/mrcj2000",
        408.0,
        170.0,
        _J2000 | {"catalog_source_id": ("MRC", None), "flux_mjy": ("S408", "Jy"), "flux_err_mjy": ("e_S408", "Jy")},
        "Large et al. 1981, MNRAS 194, 693",
        position_err_arcsec=5.0,
        epoch_mjd=42000.0,
    ),
    "psrcat": Preset(
        "ATNF pulsar catalogue, 1.4 GHz",
        "B/psr/psr",
        1400.0,
        1.0,
        _J2000 | {"catalog_source_id": ("PSRJ", None), "flux_mjy": ("S1400", "mJy")},
        "Manchester et al. 2005, AJ 129, 1993",
        position_err_arcsec=1.0,
    ),
    "vlssr": Preset(
        "VLSSr, 73.8 MHz",
        "VIII/97/catalog",
        73.8,
        75.0,
        _J2000
        | {
            "catalog_source_id": ("VLSSr", None),
            "ra_err_arcsec": ("e_RAJ2000", None),
            "dec_err_arcsec": ("e_DEJ2000", None),
            # Its peak, which is all that is published.
            "flux_mjy": ("Sp", "Jy"),
            "flux_err_mjy": ("e_Sp", "Jy"),
            "flux_peak_mjy_beam": ("Sp", "Jy"),
        },
        "Lane et al. 2014, MNRAS 440, 327",
        position_err_arcsec=3.0,
        rms_mjy_beam=100.0,
        epoch_mjd=53000.0,
    ),
    "wenss": Preset(
        "WENSS, 325 MHz",
        "VIII/62/wenss",
        325.0,
        54.0,
        _J2000
        | {
            "catalog_source_id": ("Name", None),
            "flux_mjy": ("Sint", "mJy"),
            "flux_peak_mjy_beam": ("Speak", "mJy"),
        },
        "Rengelink et al. 1997, A&AS 124, 259",
        position_err_arcsec=1.5,
        rms_mjy_beam=3.6,
        epoch_mjd=49000.0,
    ),
}


def no_preset(name: str) -> str:
    """What is said of a survey that has no preset."""
    return f"no preset {name!r}{meant(name, PRESETS)}; there are {', '.join(sorted(PRESETS))}"


def with_preset(settings: Any) -> Any:
    """The settings of a catalog with what its preset says where they are silent; anything else as it is.

    Raises
    ------
    ValueError
        If the preset is unknown; the message lists those there are.
    """
    if not isinstance(settings, Mapping) or settings.get("preset") is None:
        return settings
    name = str(settings["preset"]).lower()
    if name not in PRESETS:
        raise ValueError(no_preset(str(settings["preset"])))
    known = PRESETS[name].settings()
    given = dict(settings)
    columns = given.get("columns")
    if columns is None or isinstance(columns, Mapping):
        given["columns"] = known["columns"] | dict(columns or {})
    return known | given
