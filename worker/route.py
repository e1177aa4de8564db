"""Which pool a request goes to: the longest matching prefix, host-bound routes first, then file order.

Pure. Matching looks at a decoded, dot-free reading of the path; where that reading and the bytes could mean two
things to us and to a backend, the request is refused rather than guessed at. The bytes are forwarded untouched.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import unquote_to_bytes

from worker.failure import Failure, Refused

_AMBIGUOUS = re.compile(rb"%(?:2[fF]|5[cC]|00|2[eE])|\\|/\.\.?(?:[/;]|\Z)")
"""What servers read in different ways: encoded slashes, dots and NUL, backslashes, dot segments (some drop what follows
a semicolon before they look)."""
_ABSOLUTE = re.compile(rb"(?i:https?)://((?!:)[0-9A-Za-z._~!$&'()*+;=%\[\]:-]++)((?:[/?].*)?)", re.DOTALL)
"""Without userinfo, which RFC 9110 §4.2.4 has us treat as an error."""
_ESCAPED = re.compile(rb"%[0-9A-Fa-f]{2}")


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a request goes and how its head changes on the way.

    ``strip`` is the prefix to take off, empty for none; ``host_header`` is "preserve", "upstream", or the host to say;
    ``hedge``: whether a slow GET is asked of a second backend, too; ``upgrade``: the only protocols it may be switched
    to, in lower case, None for any.
    """

    pool: str
    strip: bytes
    host_header: str
    hedge: bool = False
    upgrade: frozenset[bytes] | None = None


class Route(Protocol):
    """A route as configured; see ``sidecar.contract.config.Route``."""

    @property
    def pool(self) -> str:
        """The pool's name."""

    @property
    def host(self) -> str | None:
        """The only host it is for, None for any."""

    @property
    def path_prefix(self) -> str:
        """What paths begin with."""

    @property
    def methods(self) -> Sequence[str]:
        """The only methods it is for, empty for any."""

    @property
    def strip_prefix(self) -> bool:
        """Whether the prefix is taken off."""

    @property
    def hedge(self) -> bool:
        """See ``Destination``."""

    @property
    def upgrade(self) -> str | Sequence[str]:
        """The only protocols that it may be switched to; "any" for any."""

    @property
    def host_header(self) -> str:
        """See ``Destination``."""


class Router:
    """All routes, sorted once. ``only`` is the destination where there is one route and it takes everything."""

    __slots__ = ("_has_prefixes", "_rules", "only")

    def __init__(self, routes: Sequence[Route]) -> None:
        rules = [_Rule(route) for route in routes]
        self._rules = sorted(rules, key=lambda rule: (not rule.host, -len(rule.prefix)))
        self._has_prefixes = any(rule.prefix != b"/" for rule in rules)
        only = self._rules[0]
        self.only = only.destination if len(rules) == 1 and only.takes_everything else None

    def find(self, method: bytes, host: bytes, path: bytes) -> Destination | None:
        """The destination of a request; None when no route matches.

        Args:
            host: the authority as the client wrote it, with or without a port.
            path: the target without its query, as bytes.

        Raises:
            Refused: the path can be read in two ways and there are prefixes to match.
        """
        if self.only is not None:
            return self.only
        if self._has_prefixes and _AMBIGUOUS.search(path):
            raise Refused(Failure.BAD_REQUEST, "ambiguous path")
        reading = unquote_to_bytes(path)
        name = _host_name(host)
        rule = next((rule for rule in self._rules if not rule.mismatch(method, name, reading)), None)
        return rule.destination_of(path) if rule else None

    def readings(self, method: bytes, host: bytes, path: bytes) -> list[tuple[Route, str]]:
        """Every route, the one first that is asked first, and what does not match in it: as ``find`` takes it.

        "host", "method" or "path"; empty for what matches, of which the first gets the request.
        """
        name, reading = _host_name(host), unquote_to_bytes(path)
        return [(rule.route, rule.mismatch(method, name, reading)) for rule in self._rules]


class _Rule:
    """One route, ready to match."""

    __slots__ = ("destination", "host", "methods", "prefix", "route")

    def __init__(self, route: Route) -> None:
        self.route = route
        self.host = _host_name((route.host or "").encode())
        self.prefix = route.path_prefix.encode()
        self.methods = frozenset(method.encode() for method in route.methods)
        self.destination = Destination(
            pool=route.pool,
            strip=self.prefix.rstrip(b"/") if route.strip_prefix else b"",
            host_header=route.host_header,
            hedge=route.hedge,
            upgrade=None if route.upgrade == "any" else frozenset(name.lower().encode() for name in route.upgrade),
        )

    @property
    def takes_everything(self) -> bool:
        return not self.host and not self.methods and self.prefix == b"/" and not self.destination.strip

    def destination_of(self, path: bytes) -> Destination:
        """The destination, with the prefix to take off as this path spells it."""
        strip = self.destination.strip
        if path.startswith(strip):
            return self.destination
        end = 0
        for _ in strip:
            end += 3 if _ESCAPED.match(path, end) else 1
        return replace(self.destination, strip=path[:end])

    def mismatch(self, method: bytes, host: bytes, path: bytes) -> str:
        """What does not match, empty for nothing.

        ``/api`` matches ``/api`` and ``/api/x``, never ``/apix``; ``*`` (OPTIONS) only the root prefix.
        """
        if self.host and self.host != host:
            return "host"
        if self.methods and method not in self.methods:
            return "method"
        if not path.startswith(self.prefix):
            return "" if self.prefix == b"/" and path == b"*" else "path"
        is_whole = self.prefix.endswith(b"/") or path[len(self.prefix) : len(self.prefix) + 1] in (b"", b"/")
        return "" if is_whole else "path"


def _host_name(authority: bytes) -> bytes:
    """The host of an authority: lower-case, no port, no final dot."""
    name = authority.lower()
    head, colon, port = name.rpartition(b":")
    if colon and (port.isdigit() or not port):
        name = head
    return name.removesuffix(b".")


def path_of(target: bytes) -> bytes:
    """The path of a request target as it came, for people to read: without authority and query; empty for no path."""
    if target.startswith(b"/"):
        return target.partition(b"?")[0]
    match = _ABSOLUTE.fullmatch(target)
    return match[2].partition(b"?")[0] or b"/" if match else b""


def split_target(target: bytes, method: bytes = b"GET") -> tuple[bytes | None, bytes, bytes]:
    """A request target as (authority, path, the rest from ``?`` on); of OPTIONS, no path means ``*``.

    The authority is None unless the target is in absolute form, where it overrides Host (RFC 9112 §3.2.2).

    Raises:
        Refused: it is neither origin-form, absolute-form nor ``*``.
    """
    authority = None
    if not target.startswith(b"/") and target != b"*":
        if not (match := _ABSOLUTE.fullmatch(target)):
            raise Refused(Failure.BAD_REQUEST, "bad target")
        authority, target = match.groups()
        if not target.startswith(b"/"):
            target = b"*" if not target and method == b"OPTIONS" else b"/" + target  # RFC 9112 §3.2.4
    path, mark, query = target.partition(b"?")
    return authority, path, mark + query
