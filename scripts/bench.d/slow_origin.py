"""A backend in blocking Python, started as a program: it serves 200 MiB, and takes uploads at its leisure.

python slow_origin.py PORT PORT. GET /stream gives the 200 MiB, any other GET a small answer; a POST is answered once
its body was read, at a slow pace for /slow.
"""

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from typing_extensions import override

from pace import BLOCK_BYTES, BODY_BYTES, Pace

HELLO = b"hello, world\n"


class Handler(BaseHTTPRequestHandler):
    """One connection, on a thread of its own."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """A small answer, or the long one."""
        if self.path != "/stream":
            self._answer()
            return
        self._head(BODY_BYTES)
        block = bytes(BLOCK_BYTES)
        for _ in range(BODY_BYTES // BLOCK_BYTES):
            self.wfile.write(block)

    def do_HEAD(self) -> None:
        """For those who check health by it."""
        self._head(len(HELLO))

    def do_POST(self) -> None:
        """Read the body, then answer."""
        length = int(self.headers["Content-Length"])
        pace = Pace()
        read = 0
        while read < length:
            if not (data := self.rfile.read1(min(BLOCK_BYTES, length - read))):
                return
            read += len(data)
            if self.path == "/slow":
                pace.keep(read)
        self._answer()

    def _answer(self) -> None:
        self._head(len(HELLO))
        self.wfile.write(HELLO)

    def _head(self, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    @override
    def log_message(self, *args: object) -> None:
        """Nothing."""


class Server(ThreadingHTTPServer):
    """With room for a crowd to connect at once."""

    request_queue_size = 4096
    daemon_threads = True

    @override
    def handle_error(self, *args: object) -> None:
        """Nothing: a proxy may close a connection."""


if __name__ == "__main__":
    servers = [Server(("127.0.0.1", int(port)), Handler) for port in sys.argv[1:]]
    threads = [threading.Thread(target=server.serve_forever) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
