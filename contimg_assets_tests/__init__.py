"""Tests of contimg_assets; as a package of its own, so that tests share helpers."""

import os

# Workers share the cores: threads of one library for each of them cost more than they gain. Before numpy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
