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
    try:
        _tell(address, f"redis://127.0.0.1:{server.server_address[1]}/0\n")
        server.serve_forever(poll_interval=60)
    finally:
        address.unlink(missing_ok=True)
        server.shutdown()
        server.server_close()


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _tell(address: Path, url: str) -> None:
    new = address.with_suffix(".new")
    new.write_text(url)
    new.chmod(0o600)
    new.replace(address)


if __name__ == "__main__":
    main(sys.argv[1:])
