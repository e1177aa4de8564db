r"""Entries as lines: JSON, logfmt or the Common Log Format. Pure.

Made by hand and many at a time: one after the other, in the midst of requests, they take three times as long (measured
2026-11). Whatever a client has a say in is escaped, so that a line is one entry and nothing in it ends a value. The
parser lets no control character and no space into a target, but an address may come from a proxy or from an app's own
server, and a quote is no control character.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from worker.access.entry import COMPLETE, Entry, Noted, Tried
from worker.headers import trace_id_of
from worker.route import path_of

MAX_PATH, MAX_ODD_PATH, MAX_TRIED = 2_048, 256, 8
"""Characters of a path that are shown, of one with something in it that takes up to six times the room, and attempts: a
line has to fit into a pipe (see ``Sink``)."""
KNOWN_TEXTS = 1_024
_UNSAFE = re.compile(rb"[^!#-\[\]-~]")
_SAFE = bytes(each for each in range(0x21, 0x7F) if not _UNSAFE.match(bytes([each])))
_NEEDS_QUOTES = re.compile(r'[ "=\\]')

Format = Callable[[Sequence[Noted], float], Iterator[str]]
"""Entries, and what to add to monotonic time for unix time, to lines with their ends; they are ASCII."""


class Json:
    """One object to a line; what a request does not have is left out behind ``ended``, and null before that."""

    def __init__(self, pid: int) -> None:
        self._time = Stamp("%Y-%m-%dT%H:%M:%S", ".%03dZ")
        self._pid = pid
        self._end_of = lru_cache(KNOWN_TEXTS)(self._end)

    def __call__(self, entries: Sequence[Noted], offset_s: float) -> Iterator[str]:
        """See ``Format``."""
        time, end_of = self._time, self._end_of
        for noted in entries:
            over, head, client, status, up, down, took_s, ttfb_s, pool, backend, tried, failure, ended, messages = noted
            if (ms := int((over + offset_s) * 1000)) != time.ms:
                time.move(ms)
            took = ttfb = "%.3f" % (took_s * 1e3)
            if ttfb_s is not took_s:
                ttfb = "null" if ttfb_s is None else "%.3f" % (ttfb_s * 1e3)
            is_plain = ended is COMPLETE and messages is None and not (tried or failure or trace_id_of(head.fields))
            end = end_of(pool, backend) if is_plain else self._end(pool, backend, Entry._make(noted))
            yield (
                f'{{"time":"{time.text}",{_json_request(client, head.method, head.target, head.version)}'
                f'"status":{status},"bytes_up":{up},"bytes_down":{down},"duration_ms":{took},"ttfb_ms":{ttfb}{end}'
            )

    def _end(self, pool: str, backend: str, entry: Entry | None = None) -> str:
        """What of most lines is one of a few; ``None`` for a request that went through at the first attempt."""
        said: dict[str, object] = {"pool": pool or None, "backend": backend or None}
        if entry is None:
            said |= {"attempts": 1 if backend else 0, "ended": COMPLETE}
        else:
            said |= {"attempts": entry.attempts, "ended": entry.ended, **_more(entry)}
        said["pid"] = self._pid
        return "," + json.dumps(said, separators=(",", ":"))[1:] + "\n"


class Logfmt:
    """``key=value`` pairs; what a request does not have is left out."""

    def __init__(self, pid: int) -> None:
        self._time = Stamp("%Y-%m-%dT%H:%M:%S", ".%03dZ")
        self._pid = pid

    def __call__(self, entries: Sequence[Noted], offset_s: float) -> Iterator[str]:
        """See ``Format``."""
        for entry in map(Entry._make, entries):
            said = self._said(entry)
            pairs = " ".join([f"{key}={value}" for key, value in said.items() if value is not None])
            yield f"time={self._time(entry.over + offset_s)} {pairs} pid={self._pid}\n"

    def _said(self, entry: Entry) -> dict[str, object]:
        return {
            "client": _quoted(entry.client),
            "method": entry.head.method.decode() or None,
            "path": _quoted(path) if (path := entry.path) else None,
            "protocol": f"HTTP/1.{entry.head.version}",
            "status": entry.status,
            "bytes_up": entry.bytes_up,
            "bytes_down": entry.bytes_down,
            "duration_ms": f"{entry.duration_s * 1e3:.3f}",
            "ttfb_ms": None if entry.ttfb_s is None else f"{entry.ttfb_s * 1e3:.3f}",
            "pool": entry.pool or None,
            "backend": _quoted(entry.backend.encode()) if entry.backend else None,
            "attempts": entry.attempts,
            "ended": entry.ended,
            "failure": entry.failure or None,
            "tried": _quoted(_in_a_row(entry.tried)) if entry.tried else None,
            "messages": entry.messages,
            "trace_id": entry.trace_id.decode() or None,
        }


class Common:
    r"""The Common Log Format, escaped as nginx and Apache do it: ``\x22`` for a quote."""

    def __init__(self, pid: int) -> None:  # noqa: ARG002 - the format has no place for it
        self._time = Stamp("%d/%b/%Y:%H:%M:%S +0000")

    def __call__(self, entries: Sequence[Noted], offset_s: float) -> Iterator[str]:
        """See ``Format``."""
        for entry in map(Entry._make, entries):
            head, path = entry.head, _hex_escaped(entry.path)
            line = f"{head.method.decode()} {path} HTTP/1.{head.version}" if head.method else "-"
            client, at = _hex_escaped(entry.client), self._time(entry.over + offset_s)
            yield f'{client} - - [{at}] "{line}" {entry.status or "-"} {entry.bytes_down or "-"}\n'


FORMATS: Mapping[str, Callable[[int], Format]] = {"json": Json, "logfmt": Logfmt, "common": Common}
"""By the word of ``[log] access``; each is made for the process with this pid."""


class Stamp:
    """The time of a line, in UTC; what has a second or a millisecond in common is written once."""

    def __init__(self, pattern: str, beyond: str = "") -> None:
        """``beyond``: how the milliseconds are written, if they are."""
        self._pattern = pattern
        self._beyond = beyond
        self._second = -1
        self._to_second = ""
        self.ms = -1
        """Unix time of ``text``."""
        self.text = ""

    def __call__(self, now: float) -> str:
        """As text."""
        if (ms := int(now * 1000)) != self.ms:
            self.move(ms)
        return self.text

    def move(self, ms: int) -> None:
        """Have ``text`` say this time."""
        second, beyond = divmod(ms, 1000)
        if second != self._second:
            self._second = second
            self._to_second = datetime.fromtimestamp(second, UTC).strftime(self._pattern)
        self.ms = ms
        self.text = self._to_second + (self._beyond % beyond if self._beyond else "")


@lru_cache(KNOWN_TEXTS)
def _json_request(client: bytes, method: bytes, target: bytes, version: int) -> str:
    """What was asked for, and by whom: much of it is asked for again."""
    asked = f'"client":"{_escaped(client)}","method":"{method.decode()}","path":"{_escaped(path_of(target))}"'
    return f'{asked},"protocol":"HTTP/1.{version}",'


def _more(entry: Entry) -> dict[str, object]:
    """What not every request has."""
    said: dict[str, object] = {"failure": entry.failure} if entry.failure else {}
    if entry.tried:
        said["tried"] = [{"backend": each.backend, "failure": each.failure} for each in entry.tried[:MAX_TRIED]]
    if entry.messages is not None:
        said["messages"] = entry.messages
    if trace_id := entry.trace_id:
        said["trace_id"] = trace_id.decode()
    return said


def _in_a_row(tried: tuple[Tried, ...]) -> bytes:
    return ",".join(f"{each.backend}:{each.failure}" for each in tried[:MAX_TRIED]).encode()


def _escaped(text: bytes) -> str:
    """What may stand between two quotes, in JSON and in logfmt."""
    if not text.translate(None, _SAFE):
        return text.decode() if len(text) <= MAX_PATH else text[:MAX_PATH].decode()
    return json.dumps(text[:MAX_ODD_PATH].decode("latin-1"))[1:-1]


def _quoted(text: bytes) -> str:
    escaped = _escaped(text)
    return f'"{escaped}"' if not escaped or _NEEDS_QUOTES.search(escaped) else escaped


def _hex_escaped(text: bytes) -> str:
    if not text.translate(None, _SAFE):
        return text[:MAX_PATH].decode() or "-"
    return _UNSAFE.sub(lambda found: b"\\x%02X" % found[0][0], text[:MAX_ODD_PATH]).decode()
