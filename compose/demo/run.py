"""Three demo backends and `sidebeat up` in front of them, until Ctrl-C.

A backend that dies (`kill -9` it and watch) comes back on its own port after DEMO_RESTART_S (10). The end runs in the
order of the traffic: first `up`, which drains, then the backends. No process survives this one, not even its kill -9.
"""

import asyncio
import ctypes
import os
import signal
import socket
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import cast

APP = Path(__file__).with_name("app.py")
# Long enough to see the verdict fall, short enough to wait for the way back.
RESTART_AFTER_S = float(os.environ.get("DEMO_RESTART_S", "10"))
ACCEPTS_WITHIN_S = 30.0  # a cold import of FastAPI on a busy small machine
ENDS_WITHIN_S = 3.0
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
LIBC = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """One backend as it is asked for; the numbers are app.py's DEMO_* variables."""

    name: str
    base_ms: int
    wave_ms: int
    period_s: int

    @property
    def environment(self) -> dict[str, str]:
        """What app.py reads."""
        return {
            "DEMO_NAME": self.name,
            "DEMO_BASE_MS": str(self.base_ms),
            "DEMO_WAVE_MS": str(self.wave_ms),
            "DEMO_PERIOD_S": str(self.period_s),
        }


DEMOS = (
    Demo(name="alpha", base_ms=5, wave_ms=40, period_s=30),
    Demo(name="bravo", base_ms=20, wave_ms=60, period_s=45),
    Demo(name="charlie", base_ms=60, wave_ms=90, period_s=60),
)


class DemoError(Exception):
    """Something could not be started; the text is for the user."""


def say(text: str) -> None:
    """One line, at once: `up` writes to the same terminal."""
    print(f"demo: {text}", flush=True)


def dies_with_us(signal_number: int) -> Callable[[], None]:
    """For a child, before its exec: have the kernel send it this signal when we are gone, however we went."""
    parent = os.getpid()

    def ask() -> None:
        if hasattr(LIBC, "prctl"):
            LIBC.prctl(PR_SET_PDEATHSIG, signal_number)
        if os.getppid() != parent:
            os._exit(1)

    return ask


class Backend:
    """One demo backend: the process of the moment, and the port that all its processes share."""

    def __init__(self, demo: Demo) -> None:
        self.demo = demo
        self.port = 0
        self._process: Process | None = None

    async def spawn(self) -> None:
        """Start the process, on the port it had before if it had one.

        Raises:
            OSError: The port is taken.
        """
        with socket.socket() as bound:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(("127.0.0.1", self.port))
            self.port = bound.getsockname()[1]
            # Bound here, so that the port is known and ours; listening is the child's, so that a dead one refuses.
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", str(APP), str(bound.fileno()),
                env={**os.environ, **self.demo.environment},
                pass_fds=[bound.fileno()],
                start_new_session=True,
                preexec_fn=dies_with_us(signal.SIGKILL),
            )  # fmt: skip

    async def accepts(self) -> None:
        """Wait until the process accepts connections.

        Raises:
            DemoError: It ended instead, or let us wait too long.
        """
        process = self._running()
        give_up = time.monotonic() + ACCEPTS_WITHIN_S
        while process.returncode is None and time.monotonic() < give_up:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return
        raise DemoError(f"{self.demo.name} does not accept connections ({how_it_ended(process.returncode)})")

    async def keep(self) -> None:
        """Start it again whenever it ends; runs until it is cancelled."""
        while True:
            status = await self._running().wait()
            say(f"{self.demo.name} ended ({how_it_ended(status)}); it comes back in {RESTART_AFTER_S:g} s")
            await asyncio.sleep(RESTART_AFTER_S)
            try:
                await self.spawn()
                await self.accepts()
            except (DemoError, OSError) as error:
                say(f"{self.demo.name} stays away: {error}")
                return
            say(f"{self.demo.name} is back: {self.describe()}")

    async def stop(self) -> None:
        """End the process, by force if it does not listen."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(ENDS_WITHIN_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def describe(self) -> str:
        """Its name, address and pid, in a line."""
        return f"{self.demo.name:<8} http://127.0.0.1:{self.port}  pid {self._running().pid}"

    def _running(self) -> Process:
        if self._process is None:
            raise DemoError(f"{self.demo.name} was never started")
        return self._process


def how_it_ended(status: int | None) -> str:
    """A return code as people say it; None: it has not ended."""
    if status is None:
        return "still starting"
    return signal.Signals(-status).name if status < 0 else f"status {status}"


def config_for(backends: list[Backend]) -> str:
    """The config file that puts the pool `api` on these backends."""
    urls = [f'    {{ url = "http://127.0.0.1:{each.port}", id = "{each.demo.name}" }},' for each in backends]
    return "\n".join(
        ["[pools.api]", "backends = [", *urls, "]", "", "[pools.api.health_check]", 'path = "/healthz"', ""]
    )


async def run_up(config: Path) -> int:
    """Run `sidebeat up` to its end and return its exit status; our signals become its signals."""
    up = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "sidecar", "up", "-c", str(config),
        start_new_session=True,
        preexec_fn=dies_with_us(signal.SIGTERM),
    )  # fmt: skip

    def forward(number: signal.Signals) -> None:
        if up.returncode is None:
            up.send_signal(number)

    on_signals(lambda: forward(signal.SIGINT), lambda: forward(signal.SIGTERM))
    status = await up.wait()
    return status if status >= 0 else 128 - status


def on_signals(interrupt: Callable[[], object], terminate: Callable[[], object]) -> None:
    """What Ctrl-C and an end from outside do from now on; a closed terminal is an end, not a reload."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, interrupt)
    loop.add_signal_handler(signal.SIGTERM, terminate)
    loop.add_signal_handler(signal.SIGHUP, terminate)


async def run() -> int:
    """Start everything, wait for `up`, end everything; the exit status is `up`'s."""
    task = cast("asyncio.Task[int]", asyncio.current_task())
    on_signals(task.cancel, task.cancel)
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sidebeat-demo-")))
        backends = [Backend(demo) for demo in DEMOS]
        for backend in backends:
            stack.push_async_callback(backend.stop)
            await backend.spawn()
        for backend in backends:
            await backend.accepts()
        config = directory / "sidebeat.toml"
        config.write_text(config_for(backends))
        say("three backends; end one with kill -9 and watch it go and come back")
        for backend in backends:
            say(f"  {backend.describe()}")
        async with asyncio.TaskGroup() as keeping:
            keepers = [keeping.create_task(backend.keep()) for backend in backends]
            status = await run_up(config)
            for keeper in keepers:
                keeper.cancel()
    return status


def main() -> int:
    """Run the demonstration; a signal before `up` runs ends it too, with everything cleaned up."""
    try:
        return asyncio.run(run())
    except DemoError as error:
        say(str(error))
        return 1
    except asyncio.CancelledError:
        return 130


if __name__ == "__main__":
    sys.exit(main())
