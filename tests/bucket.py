"""An S3 server for tests."""

import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import werkzeug.serving
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer


class Bucket:
    """`s3://bucket`, served on a loopback port from this process, whose memory holds it."""

    def __init__(self) -> None:
        self._serve(port=0)
        self.port = self.server.get_host_and_port()[1]
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        request = urllib.request.Request(f"{self.environment['AWS_ENDPOINT_URL']}/bucket", method="PUT")
        urllib.request.urlopen(request, timeout=30).read()

    def _serve(self, port: int) -> None:
        self.server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
        self.server.start()
        self.server.get_host_and_port()  # waits until it listens
        self.running = True

    def put(self, key: str, content: bytes) -> None:
        """Puts an object into the bucket without asking the server, which is slow for thousands."""
        s3_backends["123456789012"]["aws"].put_object("bucket", key, content)

    @contextmanager
    def counted(self) -> Iterator[list[str]]:
        """Lists the requests that the server answers meanwhile."""
        requests: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            handler = werkzeug.serving.WSGIRequestHandler
            patch.setattr(
                handler, "log_request", lambda self, *_: requests.append(f"{self.command} {self.path}")
            )
            yield requests

    def stop(self) -> None:
        """Nothing answers any more."""
        self.server.stop()
        self.running = False
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def start(self) -> None:
        """Goes on where it was stopped, with all that it holds; nothing happens where it runs."""
        if not self.running:
            self._serve(self.port)
