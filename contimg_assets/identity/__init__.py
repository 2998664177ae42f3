"""Names that never change: ids of measurements and sources, versions of content, keys of epochs.

Belongs here: functions of content alone. Does not belong here: where a version is stored, or what is stale because of
it.
"""
