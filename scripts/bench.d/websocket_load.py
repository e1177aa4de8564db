"""``ws``: WebSockets that are never silent, and a crowd of them that always is."""

import gc
import select
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bars import IDLE_WEBSOCKETS_MIB, judge, verdict
from figures import Run, cpu_us, errors, p50, p99, percentile, rate, ratio, typical
from lab import LabError
from meter import Meter
from subjects import Proxy
from tables import markdown

CONNECTIONS = 32
TEXT = (b'{"user": "ada", "room": 17, "said": "the engine weaves algebraic patterns"}, ' * 14)[:1_024]
MASK = b"\x0a\x0b\x0c\x0d"
CROWD = 1_000
SETTLE_S = 1.5
MIB = 1 << 20
REQUEST = (
    b"GET /ws HTTP/1.1\r\nHost: bench.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%b\r\n"
)
OFFER = b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tongue:
    """How the client talks: ``offer`` is a field of its handshake, ``message`` the frame that it sends."""

    offer: bytes
    message: bytes

    @property
    def is_compressed(self) -> bool:
        """Whether messages are (RFC 7692), as browsers have it wherever the server agrees."""
        return bool(self.offer)

    def is_echo(self, frame: bytes) -> bool:
        """Whether a whole frame says what was sent."""
        payload = frame[4:] if frame[1] == 126 else frame[2:]
        if frame[0] & 0x40:
            payload = zlib.decompress(payload + b"\x00\x00\xff\xff\x03\x00", wbits=-15)  # and an end, which it lacks
        return payload == TEXT


def _frame(first: int, payload: bytes) -> bytes:
    masked = bytes(byte ^ MASK[at % 4] for at, byte in enumerate(payload))
    size = bytes((0x80 | len(payload),)) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return bytes((first,)) + size + MASK + masked


def _deflated(text: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return (deflate.compress(text) + deflate.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


PLAIN = Tongue(offer=b"", message=_frame(0x81, TEXT))
COMPRESSED = Tongue(offer=OFFER, message=_frame(0xC1, _deflated(TEXT)))


def connect(port: int, tongue: Tongue) -> socket.socket:
    """A WebSocket that is open.

    Raises:
        LabError: it was refused, or does not speak as it was asked to.
    """
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(REQUEST % tongue.offer)
    answer = b""
    while b"\r\n\r\n" not in answer:
        data = connection.recv(1)  # not one byte of what follows
        if not data:
            break
        answer += data
    if not answer.startswith(b"HTTP/1.1 101 ") or (b"permessage-deflate" in answer) != tongue.is_compressed:
        raise LabError(f"no such WebSocket: {answer[:300]!r}")
    return connection


def is_whole(data: bytes) -> bool:
    """Whether that is a frame to its last byte, given that no more than one is under way."""
    if len(data) < 4:
        return False
    return len(data) >= (4 + int.from_bytes(data[2:4], "big") if data[1] == 126 else 2 + data[1])


class Talk:
    """Connections on each of which a message is sent as soon as the one before it has come back."""

    def __init__(self, stack: ExitStack, port: int, tongue: Tongue) -> None:
        self._tongue = tongue
        self._poll = stack.enter_context(select.epoll())
        self._sockets: dict[int, socket.socket] = {}
        for _ in range(CONNECTIONS):
            connection = stack.enter_context(connect(port, tongue))
            self._sockets[connection.fileno()] = connection
            self._poll.register(connection, select.EPOLLIN)
        self._parts: dict[int, bytes] = {}
        self._sent: dict[int, float] = {}
        self.took_s: list[float] = []
        self.errors = 0
        for number in self._sockets:
            self._send(number)

    def run(self, seconds: float) -> None:
        """Go on for so long.

        Raises:
            LabError: a connection ended.
        """
        self.took_s.clear()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for number, _ in self._poll.poll(1.0):
                self._take(number)

    def _send(self, number: int) -> None:
        self._sent[number] = time.monotonic()
        self._sockets[number].send(self._tongue.message)

    def _take(self, number: int) -> None:
        data = self._sockets[number].recv(65_536)
        if not data:
            raise LabError("a WebSocket ended under load")
        data = self._parts.pop(number, b"") + data
        if not is_whole(data):
            self._parts[number] = data
            return
        self.errors += not self._tongue.is_echo(data)
        self.took_s.append(time.monotonic() - self._sent[number])
        self._send(number)


@contextmanager
def _no_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def measure(tongue: Tongue, proxy: Proxy, seconds: float) -> Run:
    """One run, after a short one that does not count."""
    with ExitStack() as stack:
        talk = Talk(stack, proxy.port, tongue)
        stack.enter_context(_no_collections())
        talk.run(0.3)
        meter = Meter(proxy.program.pid)
        talk.run(seconds)
        meter.sample()
    ordered = sorted(talk.took_s)
    return Run(
        cpu_s=meter.cpu_s,
        requests=len(ordered),
        received_bytes=len(ordered) * len(TEXT),
        seconds=seconds,
        p50_ms=1e3 * percentile(ordered, 0.5),
        p99_ms=1e3 * percentile(ordered, 0.99),
        rss_bytes=meter.peak_rss_bytes,
        errors=talk.errors,
    )


def idle_bytes(proxy: Proxy) -> int:
    """How much resident memory a crowd of open WebSockets takes, on each of which one message has passed."""
    meter = Meter(proxy.program.pid)
    time.sleep(SETTLE_S)
    before = meter.sample()
    with ExitStack() as stack:
        for _ in range(CROWD):
            connection = stack.enter_context(connect(proxy.port, PLAIN))
            connection.sendall(PLAIN.message)
            if len(connection.recv(4 + len(TEXT), socket.MSG_WAITALL)) < 4 + len(TEXT):
                raise LabError("a WebSocket ended")
        time.sleep(SETTLE_S)
        return meter.sample() - before


def table(load: str, runs: dict[str, list[Run]]) -> str:
    """All subjects, and the bars."""
    others = ("nginx", "seed", "seed as installed")
    against = [f"x {each}" for each in others]
    header = ["subject", "CPU µs/message", "messages/CPU s", *against, "messages/s", "p50 ms", "p99 ms"]
    rows = [
        [
            name,
            f"{typical(rounds, cpu_us):.1f}",
            f"{1e6 / typical(rounds, cpu_us):,.0f}",
            *(f"{1 / ratio(rounds, runs[each], cpu_us):.2f}" if each in runs else "-" for each in others),
            f"{typical(rounds, rate):,.0f}",
            *(f"{typical(rounds, each):.2f}" for each in (p50, p99)),
            str(errors(rounds)),
        ]
        for name, rounds in runs.items()
    ]
    return "\n".join([markdown([*header, "errors"], rows), "", *judge(load, runs)]).rstrip()


def idle_table(idle: dict[str, int]) -> str:
    """What a silent crowd costs, and the bar."""
    rows = [[name, f"+{grown / MIB:.1f}"] for name, grown in idle.items()]
    lines = []
    if "sidebeat" in idle:
        crowd = idle["sidebeat"] / MIB
        said = verdict(crowd, IDLE_WEBSOCKETS_MIB)
        lines = [f"- {CROWD:,} idle WebSockets: {crowd:.1f} MiB (bar {IDLE_WEBSOCKETS_MIB:g}): {said}"]
    return "\n".join([markdown(["subject", f"{CROWD:,} idle, MiB"], rows), "", *lines]).rstrip()
