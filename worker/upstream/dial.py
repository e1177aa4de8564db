"""Making a new connection to a backend: unix socket, address or name, plain or TLS.

A name is resolved each time, so that no answer of DNS outlives its truth here. Where it has several addresses they
race (RFC 8305, "happy eyeballs"): the next one starts when one has failed or has taken too long, the first to be there
wins, the others are closed. Over TLS they race to the end of the handshake.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from ipaddress import ip_address
from itertools import chain, zip_longest
from typing import Any

from sidecar.contract.config import UpstreamTLS
from sidecar.contract.model import Address
from worker.failure import Failure
from worker.upstream.connection import UpstreamConnection

STAGGER_S = 0.25
"""The Connection Attempt Delay that RFC 8305 §5 recommends."""

_OUR_OWN = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""Descriptors, memory or ports that this machine has run out of."""

Place = tuple[str, int]
"""An address in figures, and the port."""
AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]
"""What ``getaddrinfo`` gives."""


class Dialer:
    """The way to one backend."""

    __slots__ = ("_address", "_context", "_loop", "_settings")

    def __init__(self, address: Address, settings: UpstreamTLS, loop: asyncio.AbstractEventLoop) -> None:
        self._address = address
        self._settings = settings
        self._context: ssl.SSLContext | None = None
        self._loop = loop

    async def dial(self, protocol: Callable[[], UpstreamConnection]) -> UpstreamConnection:
        """Make a connection; the caller keeps the deadline.

        Args:
            protocol: makes the protocol of an attempt; several run where a name has several addresses.

        Raises:
            OSError: it cannot be had; of the errors of several addresses the most telling one.
            ValueError: the name is none.
        """
        address = self._address
        if address.path:
            _, connection = await self._loop.create_unix_connection(protocol, address.path)
            return connection
        context = self._tls() if address.tls else None
        name = (self._settings.server_name or address.host) if context else None

        async def connect(place: Place) -> UpstreamConnection:
            _, connection = await self._loop.create_connection(protocol, *place, ssl=context, server_hostname=name)
            return connection

        if is_figures(address.host):
            return await connect((address.host, address.port))
        infos = await self._loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        return await race(interleaved(infos), connect, self._loop)

    def _tls(self) -> ssl.SSLContext:
        """The TLS context, made at the first https connection: reading the system's CAs takes 20 ms."""
        if self._context is None:
            settings = self._settings
            context = ssl.create_default_context(cafile=settings.ca)
            if not settings.verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if settings.cert:
                context.load_cert_chain(settings.cert, settings.key)
            context.set_alpn_protocols(["http/1.1"])
            self._context = context
        return self._context


def is_figures(host: str) -> bool:
    """Whether a host is an address, and no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def interleaved(infos: Sequence[AddressInfo]) -> list[Place]:
    """The order in which addresses are tried: as resolved, but families take turns (RFC 8305 §4)."""
    families: dict[int, list[Place]] = {}
    for family, _, _, _, sockaddr in infos:
        families.setdefault(family, []).append(_place(sockaddr))
    turns = chain.from_iterable(zip_longest(*families.values()))
    return list(dict.fromkeys(place for place in turns if place))


def _place(sockaddr: tuple[Any, ...]) -> Place:
    """Host and port; of a link-local address the interface, too, which uvloop gives as a number of its own."""
    host, port = sockaddr[:2]
    scope = sockaddr[3] if len(sockaddr) > 3 and "%" not in host else 0
    return (f"{host}%{scope}" if scope else host), port


async def race(
    places: Sequence[Place],
    connect: Callable[[Place], Coroutine[None, None, UpstreamConnection]],
    loop: asyncio.AbstractEventLoop,
) -> UpstreamConnection:
    """The first connection that is there; whatever the others come to is closed.

    Raises:
        OSError: there is none; see ``Dialer.dial``.
    """
    left = list(reversed(places))
    running: set[asyncio.Task[UpstreamConnection]] = set()
    errors: list[BaseException] = []
    try:
        while left or running:
            if left:
                running.add(loop.create_task(connect(left.pop())))
            done, running = await asyncio.wait(
                running, timeout=STAGGER_S if left else None, return_when=asyncio.FIRST_COMPLETED
            )
            won = [attempt for attempt in done if attempt.exception() is None]
            if won:
                running.update(won[1:])
                return won[0].result()
            errors += [error for attempt in done if (error := attempt.exception())]
        raise max(errors, key=_tells, default=OSError("the name has no addresses"))
    finally:
        for attempt in running:
            attempt.cancel()
            attempt.add_done_callback(_drop)


def _drop(attempt: asyncio.Task[UpstreamConnection]) -> None:
    """Close what came too late."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().transport.abort()


def _tells(error: BaseException) -> int:
    """How much an error says of the backend: that it spoke, that its machine did, that nobody did."""
    kinds = (ssl.SSLError, ConnectionRefusedError, TimeoutError)
    return next((len(kinds) - rank for rank, kind in enumerate(kinds) if isinstance(error, kind)), 0)


def failure_of(error: OSError | ValueError) -> Failure:
    """What an error of ``dial`` means; a connection that we had no means to make says nothing of the backend."""
    match error:
        case TimeoutError():
            return Failure.CONNECT_TIMEOUT
        case ConnectionRefusedError():
            return Failure.REFUSED
        case ssl.SSLError():
            return Failure.TLS
        case OSError(errno=number) if number in _OUR_OWN:
            return Failure.INTERNAL
        case _:
            return Failure.UNREACHABLE
