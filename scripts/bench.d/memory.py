"""What connections and slow transfers cost a proxy in resident memory; nothing is fast here, so nothing is timed."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Event, Thread

from bars import IDLE_CONNECTION_KIB, SLOW_BODY_MIB, verdict
from lab import LabError
from meter import Meter
from pace import BLOCK_BYTES, BODY_BYTES, Pace
from subjects import Proxy
from tables import markdown

CROWDS = (1_000, 5_000)
WARM_UP_REQUESTS = 200
SAMPLE_S = 0.1
SETTLE_S = 1.0
SMALL_BUFFER_BYTES = 65_536
MIB = 1 << 20

Transfer = Callable[[int], None]
"""One transfer through a proxy on this port."""
KeepPace = Callable[[int], None]
"""Told after each part how many bytes have moved, it takes its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Resident bytes of one proxy: for each idle connection of a crowd, and the growth during each slow transfer."""

    base_bytes: int
    idle_bytes: dict[int, float]
    growth_bytes: dict[str, int]


def measure(proxy: Proxy) -> Memory:
    """Everything, in turn, on a proxy that was just started."""
    warm_up(proxy.port)
    meter = Meter(proxy.program.pid)
    time.sleep(SETTLE_S)
    base = meter.sample()
    grown = {name: growth(meter, transfer, proxy.port) for name, transfer in SLOW.items()}
    return Memory(base_bytes=base, growth_bytes=grown, idle_bytes=_idle_crowds(meter, proxy.port))


def _idle_crowds(meter: Meter, port: int) -> dict[int, float]:
    """Each connection has had one answer and keeps still."""
    before = meter.sample()
    found = {}
    with ExitStack() as stack:
        connections = 0
        for size in CROWDS:
            while connections < size:
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                _ask(connection)
                connections += 1
            time.sleep(SETTLE_S)
            found[size] = (meter.sample() - before) / size
    return found


def growth(meter: Meter, transfer: Transfer, port: int) -> int:
    """How far resident memory rises over where it was, at its worst, while a transfer goes on."""
    before = meter.sample()
    with _sampling(meter) as worst:
        transfer(port)
    return max(0, worst[0] - before)


@contextmanager
def _sampling(meter: Meter) -> Iterator[list[int]]:
    """The largest sample so far, kept up to date until the end."""
    worst = [0]
    over = Event()

    def sample() -> None:
        while not over.wait(SAMPLE_S):
            worst[0] = max(worst[0], meter.sample())

    thread = Thread(target=sample)
    thread.start()
    try:
        yield worst
    finally:
        over.set()
        thread.join()


def _read(pace: Callable[[], KeepPace], port: int) -> None:
    """Take the 200 MiB."""
    with _connection(port) as connection:
        connection.sendall(b"GET /stream HTTP/1.1\r\nHost: bench.example\r\nConnection: close\r\n\r\n")
        keep_pace = pace()
        read = 0
        while data := connection.recv(BLOCK_BYTES):
            read += len(data)
            keep_pace(read)
    if read < BODY_BYTES:
        raise LabError(f"only {read} bytes came of {BODY_BYTES}")


def _upload(path: str, pace: Callable[[], KeepPace], port: int) -> None:
    """Give 200 MiB to a backend that takes them as they come, or, at ``/slow``, at the slow pace."""
    block = bytes(BLOCK_BYTES)
    with _connection(port) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: bench.example\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
        connection.sendall(head.encode())
        keep_pace = pace()
        for sent in range(BLOCK_BYTES, BODY_BYTES + 1, BLOCK_BYTES):
            connection.sendall(block)
            keep_pace(sent)
        _expect_200(connection)


def _slowly() -> KeepPace:
    return Pace().keep


def _at_once() -> KeepPace:
    return lambda _: None


SLOW: dict[str, Transfer] = {
    "slow reader": partial(_read, _slowly),
    "slow uploader": partial(_upload, "/upload", _slowly),
    "slow backend": partial(_upload, "/slow", _at_once),
}
FAST: dict[str, Transfer] = {"download": partial(_read, _at_once), "upload": partial(_upload, "/upload", _at_once)}


def _connection(port: int) -> socket.socket:
    """With small buffers of its own, so that what is under way waits in the proxy or before it."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER_BYTES)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", port))
    return connection


def warm_up(port: int) -> None:
    """Have everything loaded and allocated that a small request needs."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(WARM_UP_REQUESTS):
            _ask(connection)


def _ask(connection: socket.socket) -> None:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: bench.example\r\n\r\n")
    _expect_200(connection)


def _expect_200(connection: socket.socket) -> None:
    """Read a small answer to its end."""
    answer = b""
    while not answer.endswith((b"hello, world\n", b"\r\n0\r\n\r\n")):
        data = connection.recv(4_096)
        if not data:
            break
        answer += data
    if not answer.startswith(b"HTTP/1.1 200"):
        raise LabError(f"expected 200, got {answer[:200]!r}")


def table(found: dict[str, Memory]) -> str:
    """All subjects, and the bars for ours."""
    names = next(iter(found.values())).growth_bytes
    header = ["subject", "RSS MiB", *(f"{size:,} idle, KiB each" for size in CROWDS), *(f"{n}, MiB" for n in names)]
    rows = [
        [
            name,
            f"{memory.base_bytes / MIB:.0f}",
            *(f"{each / 1024:.2f}" for each in memory.idle_bytes.values()),
            *(f"+{each / MIB:.1f}" for each in memory.growth_bytes.values()),
        ]
        for name, memory in found.items()
    ]
    lines = _judge(found["sidebeat"]) if "sidebeat" in found else []
    return "\n".join([markdown(header, rows), "", *lines]).rstrip()


def _judge(memory: Memory) -> list[str]:
    idle = max(memory.idle_bytes.values()) / 1024
    growth = max(memory.growth_bytes.values()) / MIB
    return [
        f"- an idle connection: {idle:.2f} KiB (bar {IDLE_CONNECTION_KIB:g}): {verdict(idle, IDLE_CONNECTION_KIB)}",
        f"- the slow: +{growth:.1f} MiB (bar {SLOW_BODY_MIB:g}): {verdict(growth, SLOW_BODY_MIB)}",
    ]
