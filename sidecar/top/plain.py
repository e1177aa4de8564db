"""Frames one after the other, for a pipe, a log or a program: text, or a line of JSON each."""

import asyncio
import json
from collections.abc import Callable

from sidecar.status import UnreadableError
from sidecar.status.table import standard_output
from sidecar.top.draw import draw
from sidecar.top.frame import Frame
from sidecar.top.read import Reader

Show = Callable[[Frame], None]


async def print_frames(
    reader: Reader, *, interval_s: float, count: int | None, as_json: bool, warn: Callable[[str], None]
) -> None:
    """Print so many frames; None: until cancelled. A store that goes away later is said once, and waited for.

    Raises:
        UnreadableError: it does not answer the first time.
    """
    show = _as_json if as_json else _as_text
    show(await reader.frame())
    printed, is_gone = 1, False
    while count is None or printed < count:
        await asyncio.sleep(interval_s)
        try:
            frame = await reader.frame()
        except UnreadableError as error:
            if not is_gone:
                warn(f"store.url: {error}; waiting for it")
            is_gone = True
        else:
            is_gone = False
            show(frame)
            printed += 1


def _as_json(frame: Frame) -> None:
    print(json.dumps(frame.as_json()), flush=True)  # noqa: T201 - what was asked for


def _as_text(frame: Frame) -> None:
    console = standard_output()
    console.print(draw(frame))
    console.print()
    console.file.flush()
