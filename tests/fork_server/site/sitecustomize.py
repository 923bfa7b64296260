"""See `tests/fork_server`."""

import os
import sys

sys.executable = os.environ.get("GTE_RAY_TESTS_PYTHON", sys.executable)
