"""Where a call of the library's goes: the backend that its ``host`` names, and the target as it is sent there."""

import re
from base64 import b64encode
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote

from sidecar.contract.model import Address, parse_address
from worker.gateway.scope import Scope

_SCHEME = re.compile(r"(?i)(https?|wss?)://(?:([^/?#@]*)@)?([\w.~:%\[\]-]*)([/?#].*|)", re.DOTALL)
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SAFE = "/%:@!$&'()*+,;=~?-._"
"""What stands in a path and query as it is (RFC 3986 §3.3, §3.4); ``%`` is dealt with first."""


class Target(NamedTuple):
    """One backend.

    ``url`` is its origin, ``base`` the path that all paths at it begin with, ``authorization`` what a user name in the
    URL has every request say; both are empty for none.
    """

    url: str
    address: Address
    base: bytes = b""
    authorization: bytes = b""

    @property
    def origin(self) -> "Target":
        """Where connections go, whatever is said there."""
        return self if not (self.base or self.authorization) else Target(self.url, self.address)


@lru_cache(maxsize=1_024)
def target_of(host: str) -> Target:
    """Read ``http://a:8080``, ``https://name:word@a/base``, ``ws://a``, ``a:8080`` or ``unix:/path``.

    Raises:
        ValueError: it cannot be read; says why.
    """
    if host.startswith("unix:"):
        return Target(host, parse_address(host))
    found = _SCHEME.fullmatch(host if "://" in host else f"http://{host}")
    if found is None:
        raise ValueError(f"{host!r} is not a URL of a backend")
    scheme, user, authority, rest = found.groups()
    secure = scheme.lower() in ("https", "wss")
    url = f"{'https' if secure else 'http'}://{authority.lower()}"
    path = rest.partition("?")[0].partition("#")[0].rstrip("/")
    return Target(url, parse_address(url), quoted(path), b"" if user is None else _basic(user))


def _basic(user: str) -> bytes:
    """A name and a password as RFC 7617 has them, and as httpx makes them of a URL."""
    name, _, word = user.partition(":")
    return b"Basic " + b64encode(f"{unquote(name)}:{unquote(word)}".encode())


@lru_cache(maxsize=1_024)
def quoted(path: str) -> bytes:
    """A path, with or without a query, as it may be sent: what is encoded already stays as it is."""
    return quote(_STRAY_PERCENT.sub("%25", path), safe=_SAFE).encode()


def path_of(scope: Scope) -> bytes:
    """The request's own path, byte for byte; encoded anew where somebody on the way has changed what it says."""
    raw: bytes | None = scope.get("raw_path")
    path: str = scope["path"]
    if raw:
        raw = raw.partition(b"?")[0]  # some servers and test clients leave the query there
        text = raw.decode("latin-1")
        if path == text or path == unquote(text):  # which is how servers read it
            return raw
    return quote(path, safe=_SAFE.replace("%", "").replace("?", "")).encode()


def request_target(scope: Scope, base: bytes, path: str | None, *, forward_query: bool) -> bytes:
    """The target in origin form. ``path`` None is the request's own; a query in it goes before the request's."""
    target = path_of(scope) if path is None else quoted(path)
    if not target.startswith(b"/"):
        target = b"/" + target
    query: bytes = scope["query_string"] if forward_query else b""
    if query:
        target = b"%b%b%b" % (target, b"&" if b"?" in target else b"?", query)
    return base + target if base else target
