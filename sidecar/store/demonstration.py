"""`python -m sidecar.store.demonstration ADDRESS_FILE PORT`: fakeredis' TCP server, where there is no real one.

It listens on loopback, writes its URL to ADDRESS_FILE once it does, and removes that file when it is told to end. Port
0 lets the system choose. It has no password: every user of this machine can talk to it.
"""

import signal
import sys
from pathlib import Path
from types import FrameType

from fakeredis import TcpFakeServer


def main(arguments: list[str]) -> None:
    """Serve until SIGTERM."""
    address, port = Path(arguments[0]), int(arguments[1])
    signal.signal(signal.SIGTERM, _end)
    server = TcpFakeServer(("127.0.0.1", port))
    server.daemon_threads = True  # they end with us; its `shutdown` would wait for ever before it serves
    try:
        _tell(address, f"redis://127.0.0.1:{server.server_address[1]}/0\n")
        server.serve_forever(poll_interval=60)
    finally:
        for path in (address, _new(address)):
            path.unlink(missing_ok=True)
        server.server_close()


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _tell(address: Path, url: str) -> None:
    new = _new(address)
    new.write_text(url)
    new.chmod(0o600)
    new.replace(address)


def _new(address: Path) -> Path:
    """What it is written as, before it is there as a whole."""
    return address.with_suffix(".new")


if __name__ == "__main__":
    main(sys.argv[1:])
