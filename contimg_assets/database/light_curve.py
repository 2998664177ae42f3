"""The light curve of a source, as people get it: a DataFrame that can draw itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from contimg_assets.schemas.variability import LIGHT_CURVE

if TYPE_CHECKING:
    from astropy.timeseries import TimeSeries


class LightCurve(pd.DataFrame):
    """The points of a source in time order: a DataFrame with the columns of LIGHT_CURVE.

    `plot` draws it, `to_timeseries` gives its columns their units. All else is as of any DataFrame; a part of it that
    lacks columns can no longer be drawn.
    """

    @property
    def _constructor(self) -> type[LightCurve]:
        return LightCurve

    def plot(  # type: ignore[override]  # a light curve has one way of being drawn, which pandas does not know
        self, title: str = "", kind: str | None = None, out: str | Path | None = None
    ) -> Any:
        """Draw the light curve: errors with the scale's own, upper limits, points of refused images in grey.

        Parameters
        ----------
        title : str, optional
            What to write above, such as the name of the source.
        kind : {'peak', 'int'}, optional
            Which flux; peak fluxes where there are any, if not given.
        out : str or Path, optional
            File to write too: .png, .pdf, .svg or .html.

        Returns
        -------
        matplotlib.figure.Figure
            The picture, which a notebook shows.

        Raises
        ------
        InputError
            If the file is of another format.
        """
        from contimg_assets.figures.light_curves import draw_light_curve
        from contimg_assets.figures.picture_files import picture_format, write_figure

        figure = draw_light_curve(self, title, kind)
        if out is not None:
            write_figure(figure, Path(out), picture_format(Path(out)))
        return figure

    def to_timeseries(self) -> TimeSeries:
        """Give the light curve times and units of astropy.

        Returns
        -------
        astropy.timeseries.TimeSeries
            One row a point, `time` in UTC; columns with units are quantities, missing numbers NaN.
        """
        import astropy.units as u
        from astropy.time import Time
        from astropy.timeseries import TimeSeries

        series = TimeSeries(time=Time(self["mjd"].to_numpy(dtype=float), format="mjd", scale="utc"))
        for column in LIGHT_CURVE:
            if column.name in self and column.name != "mjd":
                values = self[column.name].to_numpy()
                series[column.name] = values * u.Unit(column.unit) if column.unit else values
        return series
