"""Connecting to a name that has several addresses, some of which lead nowhere (RFC 8305)."""

import asyncio
import socket
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from backend import Backend
from caller import Caller, upstream_of
from rude import unresponsive
from waiting import eventually
from worker.failure import Failure
from worker.upstream import Upstream


class NamingLoop:
    """The running loop, with names of its own: ``ports`` of 127.0.0.1, or an address of IPv6."""

    def __init__(self, *ports: int | tuple[str, int]) -> None:
        self.ports = ports
        self.asked: list[str] = []
        self._loop = asyncio.get_running_loop()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def getaddrinfo(self, host: str, port: int, **_: object) -> list[Any]:
        self.asked.append(host)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", place))
            if isinstance(place, int)
            else (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (*place, 0, 0))
            for place in self.ports
        ]


def named(loop: NamingLoop, **settings: Any) -> Upstream:
    return upstream_of("http://name.test:80", loop=cast("asyncio.AbstractEventLoop", loop), **settings)


def port_of(url: str) -> int:
    return urlsplit(url).port or 0


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
async def test_a_family_in_which_nobody_listens_is_not_waited_for(backend: Backend, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("worker.upstream.dial.STAGGER_S", 600.0)
    loop = NamingLoop(("::1", backend.port), backend.port)
    caller = await Caller(named(loop)).start().finished()
    assert caller.statuses == [200]
    caller.upstream.close()


async def test_an_address_that_swallows_everything_is_not_the_only_one_tried(backend: Backend):
    with unresponsive() as url:
        loop = NamingLoop(port_of(url), backend.port)
        caller = await Caller(named(loop)).start().finished()
        assert caller.statuses == [200]
        assert len(caller.upstream.open) == 1
        assert backend.connections_total == 1
        caller.upstream.close()
        await eventually(lambda: backend.connections_open == 0)


async def test_the_deadline_holds_over_all_addresses():
    with unresponsive() as one, unresponsive() as other:
        loop = NamingLoop(port_of(one), port_of(other))
        caller = await Caller(named(loop, connect_s=0.4)).start().finished()
        assert caller.failures == [Failure.CONNECT_TIMEOUT]


async def test_when_all_refuse_that_is_what_is_told(backend: Backend):
    backend.refuse()
    loop = NamingLoop(backend.port, backend.port, ("::1", backend.port))
    assert (await Caller(named(loop)).start().finished()).failures == [Failure.REFUSED]


async def test_a_name_without_addresses_cannot_be_reached():
    assert (await Caller(named(NamingLoop())).start().finished()).failures == [Failure.UNREACHABLE]


async def test_a_name_is_resolved_for_each_new_connection(backend: Backend):
    """What DNS says today is not what it said when the worker started."""
    async with Backend() as other:
        loop = NamingLoop(backend.port)
        upstream = named(loop)
        await Caller(upstream).start().finished()
        loop.ports = (other.port,)
        upstream.close_idle(float("inf"))
        await Caller(upstream).start().finished()
        assert (len(backend.requests), len(other.requests)) == (1, 1)
        assert loop.asked == ["name.test"] * 2
        upstream.close()


async def test_an_address_in_figures_is_not_looked_up(backend: Backend):
    loop = NamingLoop()
    upstream = upstream_of(backend.url, loop=cast("asyncio.AbstractEventLoop", loop))
    assert (await Caller(upstream).start().finished()).statuses == [200]
    assert loop.asked == []
    upstream.close()


async def test_who_leaves_during_the_race_leaves_nothing_behind(backend: Backend):
    with unresponsive() as url:
        loop = NamingLoop(port_of(url), backend.port)
        before = asyncio.all_tasks()
        caller = Caller(named(loop)).start()
        await eventually(lambda: len(asyncio.all_tasks() - before) == 2)
        caller.upstream.stop_connecting(caller)
        await eventually(lambda: asyncio.all_tasks() == before)
        assert not caller.is_over
        assert backend.connections_total == 0
