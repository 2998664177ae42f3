"""On the path of a deployment's processes in tests: what it does, it does sooner.

Python imports a module of this name as it starts. The daemon's loops wait 1 and 2 s where Dagster waits 5 and 30 s, and
the process of a run is forked from one that has everything imported, where Dagster starts an interpreter that imports
it all. It is a process of its own all the same: it reports its number, can be killed, and reads the configuration anew.
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

if {"api", "grpc"} <= set(sys.orig_argv):
    import multiprocessing
    from multiprocessing import forkserver

    from dagster._grpc import server

    _begin = server.DagsterApiServer.__init__

    def _begin_with_a_fork_server(self, *args, **kwargs):
        _begin(self, *args, **kwargs)
        assert self._mp_ctx.get_start_method() == "spawn"
        self._mp_ctx = multiprocessing.get_context("forkserver")
        self._mp_ctx.set_forkserver_preload(["dagster._cli", "contimg_assets_tests.preloaded"])
        forkserver.ensure_running()

    server.DagsterApiServer.__init__ = _begin_with_a_fork_server
