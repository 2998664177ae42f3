"""On the daemon's PYTHONPATH in tests: its loops wait 1 and 2 s where Dagster waits 5 and 30 s.

Python imports a module of this name as it starts. Nothing else is changed; what the daemon does, it does sooner.
"""

import sys

if "dagster._daemon" in sys.orig_argv:
    from dagster._daemon import asset_daemon, controller, sensor

    # An AttributeError here says that Dagster has renamed them.
    assert asset_daemon.MIN_INTERVAL_LOOP_SECONDS == 5
    assert sensor.MIN_INTERVAL_LOOP_TIME == 5
    assert controller.DEFAULT_DAEMON_INTERVAL_SECONDS == 30
    asset_daemon.MIN_INTERVAL_LOOP_SECONDS = 1
    sensor.MIN_INTERVAL_LOOP_TIME = 1
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 2
