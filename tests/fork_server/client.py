"""Stands in for a process that the server forks, or becomes Python. Imports as little as it can. See `__init__.py`."""

import os
import signal
import socket
import sys

WORKER = "default_worker.py"


def main() -> int:
    address, *arguments = sys.argv[1:]
    if arguments and arguments[0].endswith(WORKER):
        code = forked(address, arguments)
        if code is not None:
            return code
    os.execv(sys.executable, [sys.executable, *arguments])


def forked(address: str, arguments: list[str]) -> int | None:
    """The exit code of the worker; None if the server makes none. Whoever kills this process kills the worker."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        texts = [os.getcwd(), str(len(arguments)), *arguments, *(f"{k}={v}" for k, v in os.environ.items())]
        message = "\0".join(texts).encode(errors="surrogateescape")
        connection.connect(address)
        socket.send_fds(connection, [len(message).to_bytes(8, "big")], [0, 1, 2])
        connection.sendall(message)
        answer = connection.recv(4)
    except OSError:
        return None
    if not answer:
        return None
    pid = int.from_bytes(answer, "big")
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
    try:
        with open("/proc/self/comm", "w") as name:  # for who looks for the fork among the children of a node
            name.write(f"fork {pid}")
    except OSError:
        pass
    status = connection.recv(4)
    return int.from_bytes(status, "big") if status else 1


sys.exit(main())
