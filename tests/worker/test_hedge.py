"""A hedged request, with events in any order and nothing connected: exact accounts, and one answer."""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sidecar.contract.config import parse
from worker.board import Places, board_for
from worker.failure import Failure
from worker.headers import Peer
from worker.hedge import Hedged, may_hedge
from worker.http1 import ResponseHead, read_request
from worker.pool import Pool
from worker.route import Destination
from worker.upstream import CoarseClock

MEMBERS = 3
ASK = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
PATIENCE_S = 60.0


def head_of(status: int) -> ResponseHead:
    return ResponseHead(status, b" X", 1, b"", {}, 1, 0)


class Line:
    """A connection to a backend, of which a test says what comes."""

    def __init__(self, row: int, *, reused: bool) -> None:
        self.row = row
        self.reused = reused
        self.silent = True
        self.is_lost = False
        self.has_begun = False
        self.receiver: Any = None

    def send(self, receiver: Any, data: bytes, outbox: Any, *, to_head: bool, complete: bool) -> None:
        assert self.receiver is None
        assert complete
        assert data.startswith(b"GET /x ")
        self.receiver = receiver
        self.silent = True

    def abort(self) -> None:
        self.receiver = None

    def answer(self, status: int, *, done: bool) -> None:
        receiver = self.receiver
        self.silent, self.has_begun = False, not done
        if done:
            self.receiver = None  # it is back at rest before anybody hears of the response
        receiver.response(head_of(status), b"%d" % self.row, done=done)

    def hint(self) -> None:
        self.silent = False
        self.receiver.informational(head_of(103))

    def go_on(self) -> None:
        self.receiver.body(b"%d" % self.row, b"", done=False)

    def end(self) -> None:
        receiver, self.receiver = self.receiver, None
        receiver.body(b"%d" % self.row, b"", done=True)

    def fail(self, failure: Failure) -> None:
        receiver, self.receiver = self.receiver, None
        receiver.failed(failure)


class Road:
    """The way to a backend: who waits for a connection, and those in use."""

    def __init__(self, row: int, *, has_idle: bool) -> None:
        self.row = row
        self.has_idle = has_idle
        self.waiters: list[Any] = []
        self.lines: list[Line] = []

    def take(self) -> Line | None:
        if not self.has_idle:
            return None
        self.has_idle = False
        return self._open(reused=True)

    def _open(self, *, reused: bool) -> Line:
        self.lines.append(Line(self.row, reused=reused))
        return self.lines[-1]

    def close_idle(self, before: float) -> None:
        self.has_idle = False

    def connect(self, waiter: Any) -> None:
        assert waiter not in self.waiters
        self.waiters.append(waiter)

    def stop_connecting(self, waiter: Any) -> None:
        self.waiters.remove(waiter)

    def connected(self) -> None:
        self.waiters.pop(0).connected(self._open(reused=False))

    def refused(self, failure: Failure) -> None:
        self.waiters.pop(0).failed(failure)

    @property
    def under_way(self) -> int:
        return len(self.waiters) + sum(line.receiver is not None for line in self.lines)


class Client:
    """What a client is told; all of it."""

    def __init__(self) -> None:
        self.heads: list[int] = []
        self.got: list[bytes] = []
        self.is_over = False

    def respond(self, head: ResponseHead, body: bytes, *, done: bool) -> None:
        assert not self.heads
        self.heads.append(head.status)
        self.body(body, b"", done=done)

    def body(self, data: bytes, trailers: bytes, *, done: bool) -> None:
        assert not self.is_over
        self.got.append(data)
        self.is_over = done

    def informational(self, head: ResponseHead) -> None:
        assert not self.heads
        assert not self.is_over

    def refuse(self, failure: Failure, retry_s: int = 1) -> None:
        assert not self.heads
        self.cut(failure)

    def cut(self, failure: Failure) -> None:
        assert not self.is_over
        self.is_over = True

    def hold_upload(self, *, hold: bool) -> None:
        """There is no upload."""


class Timer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.is_over = False

    def cancel(self) -> None:
        self.is_over = True

    def fire(self) -> None:
        self.is_over = True
        self.callback()


class Scene:
    """One hedged request, and all that may happen to it next."""

    def __init__(self, idle: int = 0, *, starts: bool = True) -> None:
        backends = [f"http://10.0.0.{number}:80" for number in range(1, MEMBERS + 1)]
        content = {"backends": backends, "balancing": {"policy": "first"}, "timeouts": {"response_headers_s": 60.0}}
        config = parse({"store": {"url": "unix:///nowhere"}, "pools": {"api": content}}, {})
        self.board = board_for(config)
        self.now = 1000.0
        self.timers: list[Timer] = []
        pool = Pool(
            "api",
            config.pools["api"],
            seats=Places(self.board, self.board.claim()).seats("api", config.pools["api"]),
            draw=lambda count: 0,
            loop=self,  # type: ignore[arg-type]  # all that is asked of it is ``call_later``
            coarse=CoarseClock(self.now),
            suspect=lambda backend: None,
            tell=lambda *told: None,
        )
        self.rows = list(pool.upstreams)
        self.roads = [Road(row, has_idle=bool(idle >> row & 1)) for row in self.rows]
        pool.upstreams = dict(zip(self.rows, self.roads, strict=True))  # type: ignore[arg-type]  # fakes
        pool.allowance = SimpleNamespace(  # type: ignore[assignment]  # one without limits
            may_retry=lambda now: True, may_hedge=lambda now: True, hedge_after_s=lambda now: 0.1
        )
        self.active: set[Any] = set()
        service: Any = SimpleNamespace(clock=lambda: self.now, active=self.active, via=b"sidebeat", outbox=None)
        head = read_request(ASK, 65_536, 100)
        assert head is not None
        assert may_hedge(head)
        self.client = Client()
        peer = Peer(address="192.0.2.1", port=80, scheme="http", trusted=False)
        destination = Destination(pool="api", strip=b"", host_header="upstream", hedge=True)
        self.exchange = Hedged(service, pool, destination, head, b"/x", None, peer, self.client)  # type: ignore[arg-type]
        if starts:
            self.exchange.start()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        self.timers.append(Timer(callback))
        return self.timers[-1]

    def put_on_probation(self, row: int) -> None:
        """Somebody had ejected it, and the time is over."""
        self.board.host.eject(row, self.now - 10, self.now - 1, 1)
        self.board.announce(0)

    def leave(self) -> None:
        self.client.is_over = True
        self.exchange.abort()

    def wait(self) -> None:
        self.now += PATIENCE_S
        for one in list(self.active):
            one.check_deadline(self.now)

    def possible(self) -> list[Callable[[], None]]:
        """Everything that may happen now, in an order that is the same each time."""
        found: list[Callable[[], None]] = [timer.fire for timer in self.timers if not timer.is_over]
        for road in self.roads:
            if road.waiters:
                found.append(road.connected)
                found += [partial(road.refused, why) for why in (Failure.REFUSED, Failure.QUEUE_TIMEOUT)]
            for line in road.lines:
                if line.receiver is not None:
                    found += _fates(line)
        return found if self.client.is_over else [*found, self.leave, self.wait]

    @property
    def asked(self) -> list[int]:
        return [self.board.tally(row).requests for row in self.rows]

    @property
    def under_way(self) -> list[int]:
        return [road.under_way for road in self.roads]


def _fates(line: Line) -> list[Callable[[], None]]:
    if line.has_begun:
        return [line.go_on, line.end, partial(line.fail, Failure.CUT_SHORT)]
    answers = [partial(line.answer, status, done=True) for status in (200, 503, 500)]
    failures = [partial(line.fail, why) for why in (Failure.RESET, Failure.BAD_RESPONSE)]
    return [*answers, partial(line.answer, 200, done=False), line.hint, *failures]


def test_a_canary_is_not_hedged():
    """It is to find out how one backend does, and only that."""
    scene = Scene(starts=False)
    scene.put_on_probation(1)
    scene.exchange.start()
    assert scene.under_way == [0, 1, 0]
    assert not scene.timers


def test_a_hedge_is_no_canary():
    scene = Scene()
    scene.put_on_probation(1)
    scene.timers[0].fire()
    assert scene.under_way == [1, 0, 1]


@given(st.integers(0, 2**MEMBERS - 1), st.lists(st.integers(0, 1000), max_size=25))
def test_in_any_order_of_events_there_is_one_answer_and_nothing_is_left(idle, choices):
    scene = Scene(idle)
    for choice in choices:
        possible = scene.possible()
        if not possible:
            break
        before = scene.asked
        possible[choice % len(possible)]()
        assert all(scene.asked[row] == before[row] for row in scene.rows if scene.board.tally(row).failures)
        assert [scene.board.in_flight(row) for row in scene.rows] == scene.under_way
        assert sum(scene.under_way) <= 2
        assert len(set(scene.client.got)) <= 1
        assert scene.client.is_over is not bool(scene.active)
    if not scene.client.is_over:
        scene.leave()
    assert sum(scene.under_way) == sum(scene.board.in_flight(row) for row in scene.rows) == 0
    assert not scene.active
    assert all(timer.is_over for timer in scene.timers)
    assert scene.board.attempts(scene.rows)[2] <= 1
