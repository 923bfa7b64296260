"""Imports what Ray's workers import, and forks one for each client. See `__init__.py`."""

import gc
import os
import runpy
import selectors
import signal
import socket
import sys
from contextlib import suppress
from functools import partial
from importlib import import_module

import numpy

PRELOADED = (
    "pandas",
    "pyarrow.compute",
    "pyarrow.dataset",
    "pyarrow.fs",
    "pyarrow.parquet",
    "tokenizers",
    "torch",
    "torch.distributed",
    "transformers.models.bert.modeling_bert",
    "transformers.models.bert.tokenization_bert",
)
"""Neither Ray, whose core reads its settings when it is imported, nor anything of ours or what we import in a way of our own."""
READ_AT_IMPORT = (
    *("HF_ENDPOINT", "HF_HOME", "HF_HUB_", "HF_TOKEN", "HUGGINGFACE_", "TRANSFORMERS_"),
    *("OMP_", "MKL_", "OPENBLAS_", "TORCH_", "ARROW_"),
)
"""Beginnings of the names of settings that the preloaded libraries read when they are imported."""


class Server:
    def __init__(self, listener: socket.socket, settings: dict[str, str]):
        self.selector = selectors.DefaultSelector()
        self.settings = settings
        self.path = sys.path[1:]
        self.listener = listener
        self.selector.register(self.listener, selectors.EVENT_READ, self.accept)
        # Whoever started the server has the other end: it ends with that process.
        self.selector.register(sys.stdin, selectors.EVENT_READ, self.end)
        self.forks: set[int] = set()

    def run(self) -> None:
        while True:
            for key, _ in self.selector.select():
                if self.selector.get_map().get(key.fd) == key:  # an earlier one of these may have ended it
                    key.data()

    def end(self) -> None:
        for pid in self.forks:
            os.kill(pid, signal.SIGKILL)
        sys.exit()

    def accept(self) -> None:
        fds: list[int] = []
        client, _ = self.listener.accept()
        client.settimeout(10)
        try:
            head, fds, _, _ = socket.recv_fds(client, 8, 3)
            content = b""
            size = int.from_bytes(head, "big")
            while len(content) < size and (more := client.recv(2**16)):
                content += more
            if not content or len(content) < size:
                client.close()  # it was killed
            else:
                self.fork(client, fds, content.decode(errors="surrogateescape").split("\0"))
        except OSError:
            client.close()
        for fd in fds:
            os.close(fd)

    def fork(self, client: socket.socket, fds: list[int], texts: list[str]) -> None:
        folder, count, *texts = texts
        arguments, environment = texts[: int(count)], dict(t.split("=", 1) for t in texts[int(count) :])
        if _settings(environment) != self.settings:
            client.close()
            return
        pid = os.fork()
        if pid == 0:
            self.become(fds, folder, arguments, environment)
        self.watch(client, pid)
        with suppress(OSError):  # it was killed, and the fork will be
            client.sendall(pid.to_bytes(4, "big"))

    def watch(self, client: socket.socket, pid: int) -> None:
        """Waits for the end of a fork, or of its client, with which it ends."""
        process = os.pidfd_open(pid)
        self.forks.add(pid)

        def ended() -> None:
            _, status = os.waitpid(pid, 0)
            self.forks.remove(pid)
            code = os.waitstatus_to_exitcode(status)
            for watched in (client, process):
                self.selector.unregister(watched)
            with suppress(OSError):  # where the client was killed
                client.sendall((code if code >= 0 else 128 - code).to_bytes(4, "big"))
            client.close()
            os.close(process)

        self.selector.register(process, selectors.EVENT_READ, ended)
        self.selector.register(
            client, selectors.EVENT_READ, partial(signal.pidfd_send_signal, process, signal.SIGKILL)
        )

    def become(self, fds: list[int], folder: str, arguments: list[str], environment: dict[str, str]) -> None:
        """Runs the worker in this process, which is a fork, and ends it."""
        for key in list(self.selector.get_map().values()):
            if key.fd != 0:
                os.close(key.fd)
        self.selector.close()
        for number, fd in enumerate(fds):
            os.dup2(fd, number)
            os.close(fd)
        os.setpgid(0, 0)  # Ray kills the group of a worker with it
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        paths = environment.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:] = [os.path.dirname(arguments[0]), *filter(None, paths), *self.path]
        sys.argv = arguments
        gc.enable()
        numpy.random.seed()  # as of a process of its own; the hashes of texts are alike in all forks
        code = 0
        try:
            runpy.run_path(arguments[0], run_name="__main__")
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            code = 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def _settings(environment) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_IMPORT)}


def main() -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen(64)  # clients wait from here on
    settings = _settings(os.environ)  # before the libraries add some
    gc.disable()
    for name in PRELOADED:
        import_module(name)
    gc.collect()
    gc.freeze()
    Server(listener, settings).run()


main()
