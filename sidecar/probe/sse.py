"""Probes by an event stream: well is who sends a first event in time, whatever it says."""

import re

import httpcore

from sidecar.probe.advertised import STATE_FIELD, WEIGHT_FIELD, heed
from sidecar.probe.http import MAX_BODY_BYTES, Question, value_of
from sidecar.probe.result import Progress
from sidecar.verdict import Evidence

MEDIA_TYPE = "text/event-stream"
_LINE_END = re.compile(rb"\r\n?|\n")
_BOM = b"\xef\xbb\xbf"
_SHOWN_CHARS = 40


class SseExchange:
    """Well is who answers 200 with an event stream and dispatches an event on it."""

    def __init__(self, question: Question) -> None:
        self._question = question

    async def __call__(self, progress: Progress) -> None:
        """Ask, and read up to the first event."""
        async with self._question.answer(progress) as response:
            progress.missing = f"HTTP {response.status}, but no event came"
            problem = _problem(response) or await _problem_of_stream(response)
            reason = f"HTTP {response.status}{problem or ', an event came'}"
            finding = Evidence(passed=problem is None, answered=True, reason=reason)
            progress.found(heed(finding, value_of(response, STATE_FIELD), value_of(response, WEIGHT_FIELD)))


class FirstEvent:
    """Bytes go in until one of them ends the first event (WHATWG HTML §9.2.6): a blank line after a ``data`` field."""

    def __init__(self) -> None:
        self._rest = b""
        self._has_data = False
        self._may_skip_lf = False

    def feed(self, part: bytes) -> bool:
        """Whether it has come."""
        if self._may_skip_lf and part:
            part = part.removeprefix(b"\n")
            self._may_skip_lf = False
        if not part:
            return False
        self._may_skip_lf = part.endswith(b"\r")
        *lines, self._rest = _LINE_END.split(self._rest + part)
        return any(self._is_end(line) for line in lines)

    def _is_end(self, line: bytes) -> bool:
        if not line:
            had_data, self._has_data = self._has_data, False
            return had_data
        self._has_data |= line.removeprefix(_BOM).partition(b":")[0] == b"data"
        return False


def _problem(response: httpcore.Response) -> str | None:
    """Why this is no event stream; None: it is one."""
    if response.status != 200:
        return ", not 200"
    media_type = value_of(response, "content-type") or ""
    if media_type.partition(";")[0].strip().lower() != MEDIA_TYPE:
        return f", but of the type {media_type[:_SHOWN_CHARS]!r}, not {MEDIA_TYPE}"
    return None


async def _problem_of_stream(response: httpcore.Response) -> str | None:
    """Why no event came; None: one did."""
    event = FirstEvent()
    size = 0
    async for part in response.aiter_stream():
        if event.feed(part):
            return None
        if (size := size + len(part)) > MAX_BODY_BYTES:
            return f", but no event within {MAX_BODY_BYTES} bytes"
    return ", but the stream ended before its first event"
