"""Every parameter of the pipeline: typed, with unit, default and meaning; one section per stage.

The file `contimg.yaml` holds what differs from the defaults. An unknown key or a value out of range is refused with its
name and what is allowed. Sections are what assets are versioned by: a stage's code version covers the sections it
reads.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from contimg_assets.errors import ConfigError
from contimg_assets.identity.versions import version_of_value

FILE_NAME = "contimg.yaml"
ENVIRONMENT_VARIABLE = "CONTIMG_CONFIG"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class Section(BaseModel):
    """A group of parameters that one stage reads."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @property
    def version(self) -> str:
        """Changes exactly when a value changes."""
        return version_of_value(self.model_dump(mode="json"))


class Paths(Section):
    """Where things are. Relative paths start at the folder of the configuration file."""

    incoming: Path = Field(Path("incoming"), description="Folder with one folder per epoch, each with images.csv")
    store: Path = Field(Path("store"), description="Folder of the Parquet store between the stages")
    products: str = Field(
        "products.sqlite3", description="SQLite file, or any SQLAlchemy URL (postgresql+psycopg://...)"
    )
    image_roots: tuple[Path, ...] = Field(
        (), description="Folders outside an epoch's own that its manifest may name catalogues or images in"
    )


def _known_unit(unit: str) -> str:
    import astropy.units as u

    try:
        u.Unit(unit)
    except ValueError as error:
        raise ValueError(f"{unit!r} is not a unit that astropy.units knows") from error
    return unit


class ColumnSource(Section):
    """Where one of our columns comes from in a delivered table: ``{column: S_int, unit: Jy}``."""

    column: str = Field(description="Name of the column in the file")
    unit: Annotated[str, AfterValidator(_known_unit)] | None = Field(
        None, description="Its unit; taken from the file, else our own, where not given"
    )


def _described(
    columns: dict[str, ColumnSource], schema: Any, *, without: Collection[str] = ()
) -> dict[str, ColumnSource]:
    """The columns, if our table has them and their units can be turned into ours.

    Raises
    ------
    ValueError
        Naming the column, what is meant most likely, and what is allowed.
    """
    import astropy.units as u

    allowed = [name for name in schema.names if name not in without]
    for name, source in columns.items():
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, 1)
            meant = f" (is {near[0]!r} meant?)" if near else ""
            raise ValueError(f"unknown column {name!r}{meant}; allowed are {', '.join(allowed)}")
        ours = u.Unit(schema[name].unit)
        # Fluxes are delivered as Jy or Jy/beam whichever they are; the readers say where that matters.
        fluxes = (u.Jy, u.Jy / u.beam)
        kinds = fluxes if any(map(ours.is_equivalent, fluxes)) else (ours,)
        if source.unit is not None and not any(map(u.Unit(source.unit).is_equivalent, kinds)):
            unit = str(ours) or "a number"
            raise ValueError(f"column {name!r}: the unit {source.unit!r} cannot be turned into {unit!r}")
    return columns


class Ingest(Section):
    """Reading catalogues (stage `raw_detections`)."""

    column_map: dict[str, ColumnSource] = Field(
        default_factory=dict,
        description="Our column -> column and unit in the delivered tables, for the format 'table'; names equal to "
        "ours need no entry",
    )
    default_format: str | None = Field(
        None, description="Reader for images whose manifest names none; found by content if empty"
    )
    max_rejected_fraction: float = Field(0.1, ge=0, le=1, description="A larger share of rejected rows fails the epoch")
    max_damaged_fraction: float = Field(
        0.0,
        ge=0,
        le=1,
        description="The same for rows that speak of a damaged file: text for a number, an impossible or missing "
        "position, a repeated id, a broken line",
    )
    min_axis_beam_fraction: float = Field(
        500 / 3600, ge=0, description="Components fitted narrower than this share of the beam are set aside"
    )
    field_margin: float = Field(
        2.0, gt=0, description="Rows farther from the image's centre than this many field radii are set aside"
    )

    max_unpacked_mb: float = Field(
        256.0, gt=0, le=2146, description="Largest gzip-compressed catalogue once it is unpacked [MB]"
    )

    @field_validator("column_map")
    @classmethod
    def _columns_of_detections(cls, value: dict[str, ColumnSource]) -> dict[str, ColumnSource]:
        from contimg_assets.schemas.detections import DETECTIONS

        return _described(value, DETECTIONS, without=("measurement_id", "image"))


class Measurements(Section):
    """Errors, weights and duplicates (stage `measurements`)."""

    condon_errors: Literal["missing", "always", "never"] = Field(
        "missing", description="Condon (1997) errors: where the finder gives none, for every row, or never"
    )
    min_flux_err_mjy: float = Field(0.001, ge=0, description="Floor of flux errors [mJy, mJy/beam]")
    min_position_err_arcsec: float = Field(0.01, gt=0, description="Floor of fitted position errors [arcsec]")
    systematic_ew_arcsec: float = Field(
        0.3, ge=0, description="Systematic position error east, added in quadrature [arcsec]"
    )
    systematic_ns_arcsec: float = Field(
        0.3, ge=0, description="Systematic position error north, added in quadrature [arcsec]"
    )
    position_errors: Literal["axes", "radius"] = Field(
        "axes",
        description="Position errors east and north each from its own axis, or both from the error radius (vast)",
    )
    flux_fractional_err: float = Field(0.0, ge=0, description="Fraction of the flux added in quadrature to its error")
    dedup_method: Literal["default", "vast"] = Field(
        "default", description="Rule for duplicates between images of an epoch"
    )
    dedup_radius_arcsec: float = Field(
        2.5, ge=0, description="`vast`: pairs closer than this are duplicates; `default`: never less than this [arcsec]"
    )
    dedup_sigma: float = Field(
        4.0, gt=0, description="`default`: pairs closer than this many combined position errors are duplicates"
    )


class Association(Section):
    """Sources across epochs (stage `associated_sources`)."""

    method: Literal["basic", "advanced", "deruiter", "optimal"] = Field(
        "optimal", description="How measurements find their source"
    )
    radius_arcsec: float = Field(10.0, ge=0, description="`basic`, `advanced`: largest separation [arcsec]")
    de_ruiter_radius: float = Field(5.68, gt=0, description="`deruiter`, `optimal`: largest de Ruiter radius")
    max_separation_arcsec: float = Field(
        30.0, gt=0, description="`deruiter`, `optimal`: no pair farther apart, whatever its errors [arcsec]"
    )
    completeness: float = Field(
        0.9, gt=0, lt=1, description="`optimal`: chance that a known source in the field is detected again"
    )
    new_source_fraction: float = Field(
        0.05, gt=0, lt=1, description="`optimal`: density of new sources as a share of the local density of sources"
    )
    flux_scatter: float = Field(
        0.2,
        gt=0,
        description="`optimal`: scatter of ln flux between epochs, where sources compete; never costs a lone pair",
    )
    align_images: Literal["optimal", "always", "never"] = Field(
        "optimal", description="Take each image's shift out before matching: with method `optimal`, with all, with none"
    )
    alignment_radius_arcsec: float = Field(
        15.0, gt=0, description="Largest shift of an image that is looked for [arcsec]"
    )
    alignment_min_pairs: int = Field(
        10, ge=3, description="Fewer isolated pairs than this: the image is matched as it is"
    )
    alignment_min_snr: float = Field(
        7.0, ge=0, description="Fainter measurements do not count for the shift, where the signal to noise is known"
    )


class CatalogConfig(Section):
    """One reference catalogue. A preset fills in whatever is not given."""

    preset: str | None = Field(
        None, description="Survey whose columns, frequency, beam and errors apply where not given (nvss, first, ...)"
    )
    path: Path = Field(description="FITS, VOTable, CSV, Parquet or SQLite file")
    table: str | None = Field(None, description="Table of an SQLite file or HDU of a FITS file; the first if empty")
    freq_mhz: float = Field(gt=0, description="Frequency of its fluxes [MHz]")
    beam_arcsec: float = Field(10.0, gt=0, description="Resolution, FWHM [arcsec]")
    columns: dict[str, ColumnSource] = Field(
        default_factory=dict, description="Our column -> column and unit in the file; names equal to ours need no entry"
    )
    position_err_arcsec: float = Field(
        1.0, ge=0, description="1-sigma position error of bright sources where no column gives one [arcsec]"
    )
    rms_mjy_beam: float | None = Field(
        None,
        gt=0,
        description="Typical noise: beam / (2 SNR) is added in quadrature where no column gives an error [mJy/beam]",
    )
    position_err_floor_arcsec: float = Field(
        0.0, ge=0, description="Systematic error per axis, added in quadrature to the columns' errors [arcsec]"
    )
    position_err_scale: float = Field(
        1.0, gt=0, description="Factor from the columns' errors to 1 sigma per axis (0.6624 for 68 % circles)"
    )
    ra_err_on_sky: bool = Field(
        True, description="Whether errors of right ascension are on the sky; false: of the coordinate, without cos(dec)"
    )
    epoch_mjd: float | None = Field(None, description="Mean time of its observations [MJD]")

    @field_validator("columns")
    @classmethod
    def _columns_of_catalogs(cls, value: dict[str, ColumnSource]) -> dict[str, ColumnSource]:
        from contimg_assets.schemas.catalogs import REFERENCE

        return _described(value, REFERENCE, without=("healpix_29",))

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, value: Any) -> Any:
        from contimg_assets.config.presets import with_preset

        return with_preset(value)


class Matching(Section):
    """Counterparts in reference catalogues (stage `catalog_matches`)."""

    radius_arcsec: float = Field(
        10.0, gt=0, description="Catalogue sources this near are candidates whatever the errors [arcsec]"
    )
    radius_sigma: float = Field(5.0, ge=0, description="And so are those within this many times the pair's error")
    max_radius_arcsec: float = Field(60.0, gt=0, description="But never farther than this [arcsec]")
    flux: Literal["int", "peak"] = Field("int", description="Our flux density in flux ratios")
    min_error_arcsec: float = Field(0.05, gt=0, description="Floor of a pair's position error [arcsec]")
    extended_ratio: float = Field(
        1.5, gt=1, description="Measurements with a larger integrated over peak flux are extended"
    )
    extended_beam_fraction: float = Field(
        0.25, ge=0, description="Error of extended measurements, in quadrature, in units of the larger beam"
    )
    max_offset_arcsec: float = Field(
        10.0, ge=0, description="Largest offset of an image that is found and taken out; 0: none [arcsec]"
    )
    min_offset_pairs: int = Field(10, ge=3, description="Fewer pairs than this: nothing is taken out")
    frame_err_arcsec: float = Field(
        0.5, ge=0, description="Error of an offset that is taken from another catalogue for want of pairs [arcsec]"
    )
    fit_systematic: bool = Field(
        True,
        description="Add in quadrature, per image and catalogue, the error that the scatter of the offsets demands",
    )
    density_radius_deg: float = Field(1.0, gt=0, le=20, description="Local density is counted within this [deg]")
    default_q: float = Field(
        0.5, gt=0, lt=1, description="Share of measurements with a counterpart, where too few tell [fraction]"
    )
    min_q_measurements: int = Field(
        50, ge=1, description="Fewer covered measurements than this: the share of all images together is used"
    )
    false_match_shift_arcsec: float = Field(
        300.0, gt=0, description="Distance of the positions at which false matches are counted [arcsec]"
    )
    max_offset_positions: int = Field(
        50_000, ge=1, description="About how many such positions per epoch and catalogue; at most 8 a measurement"
    )
    spectral_index: float = Field(-0.7, description="Population mean, S ~ nu^alpha, where catalogues give none")
    spectral_index_err: float = Field(0.35, gt=0, description="Its scatter over the population")
    flux_scale_err: float = Field(
        0.05,
        ge=0,
        description="Fractional error of every catalogue's flux scale, common to all its sources: counts between "
        "catalogues (spectral indices), not among the sources of one [fraction]",
    )


class Corrections(Section):
    """Position offset and flux scale of each image (stage `corrections`)."""

    position_catalogs: tuple[str, ...] = Field(
        (), description="Catalogues that tie positions, in order of preference; if empty by coverage, then precision"
    )
    flux_catalogs: tuple[str, ...] = Field(
        (), description="Catalogues that tie fluxes, in order of preference; if empty those near our frequency first"
    )
    combine: Literal["first", "weighted"] = Field(
        "first", description="Several catalogues: the first that is trusted, or all by weight / error^2"
    )
    catalog_weights: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, description="`weighted`: weight of a catalogue beside its errors, 1 where not given"
    )
    apply_position: bool = Field(True, description="Correct positions")
    apply_flux: Literal["catalog", "epochs", "none"] = Field(
        "catalog", description="Flux scale to apply: against the catalogue, from sources shared between epochs, or none"
    )

    selection: Literal["default", "vast"] = Field(
        "default", description="Which matches count: our filters, or those of vast-post-processing"
    )
    min_probability: float = Field(0.9, ge=0, le=1, description="`default`: smallest match probability")
    isolation_beams: float = Field(
        1.5,
        ge=0,
        description="`default`: no other measurement, and no other source of the catalogue, within this many "
        "(at most 2 in the catalogue) of the larger beam (own, catalogue)",
    )
    compact_sigma: float = Field(
        3.0, gt=0, description="`default`: width of the envelope of ln(integrated / peak) in standard errors"
    )
    compact_floor: float = Field(0.15, ge=0, description="`default`: half width of that envelope at infinite SNR")
    min_snr: float = Field(20.0, ge=0, description="`default`: smallest sqrt(SNR * SNR of the catalogue source)")
    max_reference_flux_mjy: float | None = Field(None, gt=0, description="Leave brighter catalogue sources out [mJy]")
    known_variables: tuple[tuple[float, float], ...] = Field(
        (), description="Positions [ra_deg, dec_deg] of variables that do not tie the flux scale"
    )
    known_variable_radius_arcsec: float = Field(
        10.0, gt=0, description="Matches closer than this to one of them are left out of the flux scale [arcsec]"
    )
    variable_min_epochs: int = Field(
        3, ge=2, description="A source is known to vary from this many earlier fluxes on, and then ties no flux scale"
    )
    variable_min_v: float = Field(
        0.15, ge=0, description="Smallest V = std / mean of the earlier fluxes of such a source [fraction]"
    )
    variable_max_p: float = Field(
        1e-6, gt=0, le=1, description="Largest probability that noise alone gives its chi-squared"
    )
    crop_radius_deg: float | None = Field(
        None, gt=0, description="Leave out matches farther than this from the image centre [deg]"
    )
    vast_radius_arcsec: float = Field(10.0, gt=0, description="`vast`: largest separation [arcsec]")
    vast_flux_limit_mjy: float = Field(0.0, ge=0, description="`vast`: smallest integrated flux [mJy]")
    vast_snr_limit: float = Field(20.0, ge=0, description="`vast`: smallest integrated flux over local rms")
    vast_neighbor_arcmin: float = Field(1.0, ge=0, description="`vast`: no own neighbour within this [arcmin]")
    vast_max_compactness: float = Field(1.5, gt=0, description="`vast`: largest integrated over peak flux")
    vast_clip_sigma: float = Field(5.0, gt=0, description="`vast`: clipping of flux ratios, in standard deviations")

    position_model: Literal["constant", "linear", "smooth", "auto"] = Field(
        "auto",
        description="Offset over the image: the same everywhere, with rotation and scale, a polynomial of third "
        "degree, or the simplest of them that cross-validation allows",
    )
    flux_method: Literal["mixture", "huber", "odr", "median"] = Field(
        "mixture", description="Estimator of the flux scale"
    )
    flux_offset: Literal["never", "auto", "always"] = Field(
        "auto",
        description="Additive flux error: never, always, or (`mixture`) where significant against a catalogue near our "
        "frequency",
    )
    bootstrap: int = Field(0, ge=0, le=10_000, description="`mixture`, `median`: replicates of the bootstrap error")

    min_matches: int = Field(10, ge=3, description="Fewer usable matches than this: the image stays as it is, flagged")
    max_offset_arcsec: float = Field(5.0, gt=0, description="Larger offsets are refused [arcsec]")
    max_offset_err_arcsec: float = Field(
        0.5, gt=0, description="Larger standard errors of an offset are refused [arcsec]"
    )
    max_scale_change: float = Field(0.5, gt=0, description="Larger |flux scale - 1| is refused")
    max_scale_err: float = Field(0.05, gt=0, description="Larger fractional errors of the flux scale are refused")
    max_outlier_fraction: float = Field(0.4, gt=0, le=1, description="Larger shares of outliers are refused")
    max_influence: float = Field(
        2.0, gt=0, description="Refused if leaving one match out changes the scale by more standard errors"
    )

    @model_validator(mode="after")
    def _constant_if_combined(self) -> Corrections:
        if self.combine == "weighted" and self.position_model in ("linear", "smooth"):
            raise ValueError("combine 'weighted' needs position_model 'constant' ('auto' is taken for it)")
        return self


class Variability(Section):
    """Statistics of light curves (tables `sources` and `variability`)."""

    min_abs_vs: float = Field(4.3, gt=0, description="Pairs with a smaller |Vs| do not count as significant")
    scale_error: bool = Field(
        True, description="Add the error of each image's flux scale to the flux errors before eta and Vs are formed"
    )
    new_min_significance: float = Field(
        5.0, gt=0, description="A late source is new if an earlier image would have shown it at this many sigma"
    )
    upper_limits: bool = Field(
        True, description="Keep an upper limit for every epoch that covered a source without detecting it"
    )
    upper_limit_sigma: float = Field(5.0, gt=0, description="Upper limit in units of the image's rms")


class Checks(Section):
    """Limits beyond which a check holds an epoch back or warns."""

    min_matched_fraction: float = Field(
        0.05,
        ge=0,
        le=1,
        description="An epoch is held back if a smaller share of its measurements, where a catalogue covers them, has "
        "a counterpart there [fraction]",
    )
    min_association_rate: float = Field(
        0.3, ge=0, le=1, description="Warn if a smaller share of the known sources inside the images is seen again"
    )
    min_covered: int = Field(30, ge=1, description="Fewer measurements or known sources than this: no verdict")


class Automation(Section):
    """When things happen by themselves."""

    nightly_cron: str = Field("0 3 * * *", description="When missing and stale epochs are materialised (cron)")
    weekly_cron: str = Field("0 12 * * 0", description="When database and store are compacted and tidied (cron)")
    timezone: str = Field("UTC", description="Time zone of the schedules")
    sensor_interval_seconds: int = Field(5, ge=1, description="How often the incoming folder is looked at [s]")
    conditions_interval_seconds: int = Field(
        5, ge=1, description="How often Dagster evaluates the assets' automation conditions [s]"
    )
    reconcile_interval_seconds: int = Field(
        300, ge=1, description="How often all versions are compared, to make what no event asked for [s]"
    )
    settle_seconds: float = Field(
        2.0, ge=0, description="Files must have been still this long before an epoch is taken [s]"
    )
    remove_vanished: bool = Field(
        False, description="Whether an epoch whose delivery is gone is removed from store and products"
    )
    vanished_hours: float = Field(
        24.0, ge=0, description="How long a delivery must be gone before its epoch is removed [h]"
    )
    max_hours_without_epoch: float = Field(
        72.0, gt=0, description="The freshness check warns when no new epoch came for so long [h]"
    )
    keep_unreferenced_hours: float = Field(
        24.0, ge=0, description="Files in the store that nothing refers to are removed when older than this [h]"
    )


class Config(Section):
    """The whole configuration. ``root`` is the folder that relative paths start at; it is not a key of the file."""

    paths: Paths = Field(default_factory=Paths)
    ingest: Ingest = Field(default_factory=Ingest)
    measurements: Measurements = Field(default_factory=Measurements)
    association: Association = Field(default_factory=Association)
    catalogs: dict[str, CatalogConfig] = Field(default_factory=dict, description="Reference catalogues by name")
    matching: Matching = Field(default_factory=Matching)
    corrections: Corrections = Field(default_factory=Corrections)
    variability: Variability = Field(default_factory=Variability)
    checks: Checks = Field(default_factory=Checks)
    automation: Automation = Field(default_factory=Automation)

    root: Path = Field(default_factory=Path.cwd, exclude=True)

    @field_validator("catalogs")
    @classmethod
    def _catalog_names(cls, value: dict[str, CatalogConfig]) -> dict[str, CatalogConfig]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(f"catalogue name {name!r} must be lower-case letters, digits, '-' or '_'")
        return value

    @model_validator(mode="after")
    def _ties_exist(self) -> Config:
        for key in ("position_catalogs", "flux_catalogs"):
            unknown = set(getattr(self.corrections, key)) - set(self.catalogs)
            if unknown:
                raise ValueError(
                    f"corrections.{key} names {sorted(unknown)}; configured catalogues are {sorted(self.catalogs)}"
                )
        return self

    @property
    def incoming(self) -> Path:
        return self.root / self.paths.incoming

    @property
    def image_roots(self) -> list[Path]:
        """Folders outside an epoch's own that its manifest may name files in."""
        return [self.root / root for root in self.paths.image_roots]

    @property
    def store(self) -> Path:
        return self.root / self.paths.store

    @property
    def products_url(self) -> str:
        """SQLAlchemy URL of the products database; SQLite's relative paths start at the configuration's folder too."""
        kind, is_file, path = self.paths.products.rpartition(":///")
        if is_file and kind.startswith("sqlite") and not path.startswith((":", "file:")):
            return f"{kind}:///{self.root / path}"
        return self.paths.products if "://" in self.paths.products else f"sqlite:///{self.root / self.paths.products}"

    def catalog_path(self, name: str) -> Path:
        return self.root / self.catalogs[name].path


def find_config_file() -> Path:
    """The configuration file of this folder: $CONTIMG_CONFIG, else ./contimg.yaml (which need not exist)."""
    return Path(os.environ.get(ENVIRONMENT_VARIABLE) or FILE_NAME).absolute()


def load_config(path: Path | str | None = None) -> Config:
    """Read and check a configuration file; all defaults where the default file does not exist.

    Raises
    ------
    ConfigError
        In one sentence per fault: file, key, value, what is allowed.
    """
    explicit = path is not None or ENVIRONMENT_VARIABLE in os.environ
    file = Path(path).absolute() if path is not None else find_config_file()
    if not file.exists():
        if explicit:
            raise ConfigError(f"{file}: no such configuration file; `contimg init` writes one")
        return Config(root=file.parent)
    try:
        content: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not readable as YAML: {error}") from error
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: must hold keys and values, not a {type(content).__name__}")
    if "root" in content:
        raise ConfigError(f"{file}: 'root' is not a key; relative paths start at the folder of this file")
    # A section without any key, as in the example file, is one without any change.
    content = {key: value for key, value in content.items() if value is not None or key not in Config.model_fields}
    try:
        return Config(**content, root=file.parent)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{file}: {_sentence(fault)}" for fault in error.errors())) from error


def check_association(values: Mapping[str, Any]) -> Association:
    """The section `association` with these values, from wherever they come.

    Raises
    ------
    ConfigError
        In one sentence per fault: key, value, what is allowed.
    """
    try:
        return Association(**values)
    except ValidationError as error:
        faults: list[Any] = [{**fault, "loc": ("association", *fault["loc"])} for fault in error.errors()]
        raise ConfigError("\n".join(map(_sentence, faults))) from error


def _sentence(fault: Any) -> str:
    """One pydantic fault as one sentence with the key's full name."""
    if not fault["loc"]:
        # Of several sections together: their whole content would say less than the message.
        return fault["msg"].removeprefix("Value error, ")
    location = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"unknown key {location!r}; {_allowed_keys(fault['loc'])}"
    return f"{location} = {fault['input']!r}: {fault['msg']}"


def _allowed_keys(location: tuple) -> str:
    model: Any = Config
    for part in location[:-1]:
        model = _section_of(model, part)
        if model is None:
            return "see contimg.yaml.example for the keys that are allowed here"
    names = sorted(name for name in model.model_fields if name != "root")
    return "allowed here: " + ", ".join(names)


def _section_of(model: Any, part: Any) -> Any:
    """The section class behind a key: directly, or as the values of a mapping."""
    if model is None or isinstance(model, dict):
        return (model or {}).get("values")
    field = model.model_fields.get(part)
    if field is None:
        return None
    kind = field.annotation
    if isinstance(kind, type) and issubclass(kind, Section):
        return kind
    arguments = getattr(kind, "__args__", ())
    values = [a for a in arguments if isinstance(a, type) and issubclass(a, Section)]
    return {"values": values[0]} if values else None
