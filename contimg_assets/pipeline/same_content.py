"""One delivery under two names: noticed by the version of its files, which no name goes into."""

from __future__ import annotations

from contimg_assets.errors import InputError
from contimg_assets.pipeline.inputs import INCOMING, World
from contimg_assets.pipeline.stages import RAW_DETECTIONS


class KnownContents:
    """Which epoch each content that was read so far is of.

    Parameters
    ----------
    world : versions of deliveries, and what the store holds
    """

    def __init__(self, world: World) -> None:
        self._world = world
        store = world.at_a_glance.store
        records = (store.record(RAW_DETECTIONS.name, epoch) for epoch in store.epochs(RAW_DETECTIONS.name))
        self._of = {record.inputs[INCOMING]: record.epoch for record in records if record and INCOMING in record.inputs}

    def refuse_repeated(self, epoch: str, version: str) -> None:
        """Raise InputError if another epoch that is still delivered has the same content; else remember this one.

        Parameters
        ----------
        epoch : its name
        version : of its files

        Raises
        ------
        InputError
            Naming the other epoch.
        """
        config, other = self._world.config, self._of.get(version, epoch)
        # A folder that was renamed leaves a record behind, but nothing is delivered twice.
        if other != epoch and not config.ingest.allow_same_content and self._world.delivery(other) == version:
            raise InputError(
                f"{config.incoming / epoch}: the same files as epoch {other!r}: every source would be counted twice; "
                "remove one of the two folders, or set ingest.allow_same_content if both are meant"
            )
        self._of[version] = epoch
