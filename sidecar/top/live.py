"""The live view: the alternate screen of a terminal, redrawn each interval and when its size changes, until q."""

import asyncio
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live

from sidecar.status import UnreadableError
from sidecar.top.draw import draw
from sidecar.top.frame import Frame
from sidecar.top.read import Reader

QUIT = frozenset(b"qQ\x04")
"""q, and Ctrl-D; Ctrl-C comes as a signal."""


async def watch(reader: Reader, *, interval_s: float, count: int | None = None) -> None:
    """Show what there is until cancelled, by q or from outside, or until so many frames were shown (None: no end).

    A store that does not answer is said above the last frame, and asked again. The terminal is left as it was.
    """
    task = asyncio.current_task()
    console = Console(highlight=False, emoji=False, markup=False)
    with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
        view = View(live)
        with _heeding(on_quit=lambda: task and task.cancel(), on_resize=view.show):
            while count is None or view.shown < count:
                try:
                    view.take(await reader.frame())
                except UnreadableError as error:
                    view.complain(f"store.url: {error}; asking again")
                await asyncio.sleep(interval_s)


class View:
    """What is on the screen; ``shown`` counts the frames that were."""

    def __init__(self, live: Live) -> None:
        self.shown = 0
        self._live = live
        self._frame: Frame | None = None
        self._trouble = ""

    def take(self, frame: Frame) -> None:
        """Show a new frame."""
        self._frame, self._trouble = frame, ""
        self.shown += 1
        self.show()

    def complain(self, trouble: str) -> None:
        """Say why there is no new one."""
        self._trouble = trouble
        self.show()

    def show(self) -> None:
        """Draw it at the size that the terminal has now."""
        size = self._live.console.size
        drawn = draw(self._frame, size=size, trouble=self._trouble) if self._frame else self._trouble
        self._live.update(drawn, refresh=True)


@contextmanager
def _heeding(*, on_quit: Callable[[], object], on_resize: Callable[[], object]) -> Iterator[None]:
    """Hear of keys one by one and unseen, and of another size."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGWINCH, on_resize)
    if not sys.stdin.isatty():
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)

    def on_key() -> None:
        try:
            keys = os.read(descriptor, 64)
        except OSError:
            keys = b""
        if not keys:
            loop.remove_reader(descriptor)  # the terminal is gone
        if not keys or QUIT.intersection(keys):
            on_quit()

    loop.add_reader(descriptor, on_key)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
