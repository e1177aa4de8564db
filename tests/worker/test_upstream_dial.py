"""In which order addresses are tried, and which of those that race wins (RFC 8305)."""

import asyncio
import errno
import socket
import ssl

import pytest
from typing_extensions import override

from waiting import eventually
from worker.failure import Failure
from worker.http1 import ResponseReader
from worker.upstream import UpstreamConnection
from worker.upstream.dial import Place, failure_of, interleaved, is_figures, race

V4, V6 = socket.AF_INET, socket.AF_INET6
STREAM = socket.SOCK_STREAM


def v4(host: str, port: int = 80):
    return V4, STREAM, 6, "", (host, port)


def v6(host: str, scope: int = 0):
    return V6, STREAM, 6, "", (host, 80, 0, scope)


@pytest.mark.parametrize(
    ("infos", "hosts"),
    [
        ([], []),
        ([v4("1")], ["1"]),
        ([v6("a"), v6("b"), v6("c"), v4("1"), v4("2")], ["a", "1", "b", "2", "c"]),
        ([v4("1"), v4("2"), v6("a")], ["1", "a", "2"]),
        ([v4("1"), v4("1"), v6("a"), v6("a")], ["1", "a"]),
        ([v6("fe80::1", 3), v6("fe80::2%eth0", 3)], ["fe80::1%3", "fe80::2%eth0"]),
    ],
)
def test_families_take_turns_rfc8305_4(infos, hosts):
    assert [host for host, _ in interleaved(infos)] == hosts


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("fe80::1%eth0", True), ("localhost", False), ("1.example", False)],
)
def test_an_address_in_figures_is_not_a_name(host: str, expected: bool):
    assert is_figures(host) is expected


class FakeTransport(asyncio.Transport):
    """Remembers that it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.is_aborted = False

    @override
    def abort(self) -> None:
        self.is_aborted = True


class Home:
    """Nobody's."""

    heads = ResponseReader(65_536)

    def give(self, connection: UpstreamConnection) -> None: ...

    def forget(self, connection: UpstreamConnection) -> None: ...

    def lost(self, connection: UpstreamConnection) -> None: ...

    def told(self, keep_alive: bytes) -> None: ...


class Course:
    """Places that answer as told: with an error, or with a connection when they are let."""

    def __init__(self, **outcomes: BaseException | asyncio.Event) -> None:
        self.outcomes = outcomes
        self.started: list[str] = []
        self.cancelled: list[str] = []
        self.made: dict[str, FakeTransport] = {}

    async def connect(self, place: Place) -> UpstreamConnection:
        name = place[0]
        self.started.append(name)
        outcome = self.outcomes[name]
        if isinstance(outcome, BaseException):
            raise outcome
        try:
            await outcome.wait()
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        connection = UpstreamConnection(Home())
        self.made[name] = FakeTransport()
        connection.connection_made(self.made[name])
        return connection

    async def run(self) -> str:
        """Who won."""
        loop = asyncio.get_running_loop()
        winner = await race([(name, 80) for name in self.outcomes], self.connect, loop)
        return next(name for name, transport in self.made.items() if transport is winner.transport)


def opened() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def test_the_first_that_is_there_wins_and_the_rest_is_not_tried():
    course = Course(a=opened(), b=opened())
    assert await course.run() == "a"
    assert course.started == ["a"]


async def test_one_that_fails_is_followed_without_a_wait(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("worker.upstream.dial.STAGGER_S", 600.0)
    course = Course(a=ConnectionRefusedError(), b=OSError(), c=opened(), d=opened())
    async with asyncio.timeout(20):
        assert await course.run() == "c"
    assert course.started == ["a", "b", "c"]


async def test_one_that_takes_long_is_overtaken_and_given_up_rfc8305_5():
    course = Course(a=asyncio.Event(), b=opened(), c=opened())
    assert await course.run() == "b"
    assert course.started == ["a", "b"]
    await eventually(lambda: course.cancelled == ["a"])


async def test_one_that_arrives_together_with_the_winner_is_closed():
    gate = asyncio.Event()
    course = Course(a=gate, b=gate)
    racing = asyncio.get_running_loop().create_task(course.run())
    await eventually(lambda: course.started == ["a", "b"])
    gate.set()
    winner = await racing
    [loser] = {"a", "b"} - {winner}
    await eventually(lambda: course.made[loser].is_aborted)
    assert not course.made[winner].is_aborted


async def test_giving_up_the_race_gives_up_every_attempt():
    course = Course(a=asyncio.Event(), b=asyncio.Event())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await course.run()
    await eventually(lambda: sorted(course.cancelled) == ["a", "b"])


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([OSError(101, "unreachable"), ConnectionRefusedError()], ConnectionRefusedError),
        ([ConnectionRefusedError(), OSError(101, "unreachable")], ConnectionRefusedError),
        ([TimeoutError(), OSError(101, "unreachable")], TimeoutError),
        ([TimeoutError(), ConnectionRefusedError()], ConnectionRefusedError),
        ([ConnectionRefusedError(), ssl.SSLError()], ssl.SSLError),
        ([], OSError),
    ],
)
async def test_the_most_telling_error_is_told(errors: list[BaseException], expected: type[Exception]):
    course = Course(**{str(number): error for number, error in enumerate(errors)})
    with pytest.raises(expected):
        await course.run()


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (TimeoutError(), Failure.CONNECT_TIMEOUT),
        (ConnectionRefusedError(), Failure.REFUSED),
        (ssl.SSLCertVerificationError(), Failure.TLS),
        (OSError(errno.EHOSTUNREACH, "no route"), Failure.UNREACHABLE),
        (socket.gaierror(socket.EAI_NONAME, "no such name"), Failure.UNREACHABLE),
        (ValueError("no name"), Failure.UNREACHABLE),
        (OSError(errno.EMFILE, "too many open files"), Failure.INTERNAL),
        (OSError(errno.EADDRNOTAVAIL, "no port left"), Failure.INTERNAL),
    ],
)
def test_no_backend_is_blamed_for_what_this_machine_has_run_out_of(error: OSError | ValueError, failure: Failure):
    assert failure_of(error) is failure
    assert failure.blames_backend is (failure is not Failure.INTERNAL)
