"""Ray's workers as forks of one process that has imported what they all import, torch above all.

A worker spends four seconds of a core on imports, and the tests start two hundred of them. Ray starts a worker by the
`sys.executable` of whoever started its node: here a script, which asks the server for a fork and stands in for it until it
ends. All else that is started by that name is Python itself, and so is a worker whose environment would have let the
libraries be imported otherwise.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

HERE = Path(__file__).parent
EXECUTABLE = "GTE_RAY_TESTS_PYTHON"
"""Environment variable with the path of the script; `site/sitecustomize.py` makes it `sys.executable`."""
_until_the_end: list[object] = []
"""What must not be collected as garbage before this process ends."""


def descendants(process: psutil.Process) -> Iterator[psutil.Process]:
    """The processes that `process` started, they themselves, and so on; a fork in place of what stands in for it.

    Without those that end meanwhile.
    """
    children: list[psutil.Process] = []
    with suppress(psutil.Error):
        children = process.children()
    for child in children:
        with suppress(psutil.Error):
            name = child.name()
            child = psutil.Process(int(name.removeprefix("fork "))) if name.startswith("fork ") else child
            yield child
            yield from descendants(child)


def start() -> None:
    """Starts the server, which ends with this process, and makes the processes use it that this one starts."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:  # where it is not allowed, workers are processes of their own
        os.environ[EXECUTABLE] = sys.executable
        return
    temporary = tempfile.TemporaryDirectory(prefix="gte_ray-tests-")
    folder = Path(temporary.name)
    address, script = folder / "socket", folder / "python"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{HERE / "client.py"}" "{address}" "$@"\n')
    script.chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, str(HERE / "server.py"), str(address)],
        stdin=subprocess.PIPE,
        stderr=(folder / "errors").open("w"),
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    _until_the_end.extend((temporary, server))
    while not address.exists():
        if server.poll() is not None:
            raise RuntimeError(f"the server of workers has ended: {(folder / 'errors').read_text()}")
        time.sleep(0.01)
    os.environ[EXECUTABLE] = str(script)
    site = str(HERE / "site")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [site, os.environ.get("PYTHONPATH", "")]))
