"""What every reader of a products database finds true, at any moment: no half epoch, no row without its parents."""

from __future__ import annotations

import sqlalchemy as sa

from contimg_assets.database import ProductsDatabase
from contimg_assets.database.engine import reading
from contimg_assets.database.limits import LINE_LENGTH

# Each counts what must not be there.
CONSISTENT = {
    "epoch whose rows are not all there": """
        SELECT count(*) FROM epochs e WHERE e.n_measurements <>
            (SELECT count(*) FROM measurements m WHERE m.epoch = e.epoch)""",
    "epoch whose associations are not all there": """
        SELECT count(*) FROM epochs e WHERE e.n_associations <> (
            SELECT count(*) FROM associations a JOIN measurements m
            ON m.epoch = a.epoch AND m.measurement_id = a.measurement_id
            WHERE coalesce(a.copied_by, a.epoch) = e.epoch)""",
    "source without a measurement": """
        SELECT count(*) FROM sources s WHERE NOT EXISTS (SELECT 1 FROM associations a WHERE a.source_id = s.id)
        AND NOT s.only_polarized""",
    "source without a polarized detection": """
        SELECT count(*) FROM sources s WHERE s.only_polarized AND s.n_measurements <>
            (SELECT count(*) FROM stokes_measurements p WHERE p.source_id = s.id AND p.status = 'own source')""",
    "polarized source that is not among the sources": """
        SELECT count(*) FROM stokes_measurements p WHERE p.status = 'own source'
        AND NOT EXISTS (SELECT 1 FROM sources s WHERE s.id = p.source_id AND s.only_polarized)""",
    "association without a source": """
        SELECT count(*) FROM associations a WHERE NOT EXISTS (SELECT 1 FROM sources s WHERE s.id = a.source_id)""",
    "source whose count is not that of its points": """
        SELECT count(*) FROM sources s WHERE NOT s.only_polarized AND s.n_measurements + s.n_limits <>
            (SELECT count(*) FROM light_curves c WHERE c.source_id = s.id)""",
    "source whose statistics are of other points": """
        SELECT count(*) FROM sources s JOIN (SELECT source_id, sum(n_peak) AS n_peak FROM variability
            WHERE sample = 'detections' GROUP BY source_id) v ON v.source_id = s.id
        WHERE v.n_peak <> s.n_measurements""",
    "source whose count is not that of its limits": """
        SELECT count(*) FROM sources s WHERE s.n_limits <>
            (SELECT count(*) FROM upper_limits u WHERE u.source_id = s.id)""",
    "limit of no source": f"""
        SELECT coalesce(sum(length(limits)) / {LINE_LENGTH}, 0) - (SELECT count(*) FROM upper_limits)
        FROM image_limits""",
    "image without an epoch": "SELECT count(*) FROM images WHERE epoch NOT IN (SELECT epoch FROM epochs)",
}


def inconsistencies(database: ProductsDatabase) -> dict[str, int]:
    """How many there are of what must not be there, in one look; empty if all is well."""
    with reading(database.engine) as connection:
        found = {name: connection.execute(sa.text(query)).scalar_one() for name, query in CONSISTENT.items()}
    return {name: count for name, count in found.items() if count}
