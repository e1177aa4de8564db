"""What a request is told apart by: the backend that its visitor was with before, and the key that it is hashed by.

Pure. A sticky visitor carries a cookie that names a backend by a keyed digest of its id, and is signed: it shows no
address, and nobody can make one up. All who have the secret come to the same value for a backend, so that a cookie is
read by comparing it with those of all members, at no cost in cryptography.

A cookie that names nobody who is eligible counts as none: it was made up or belongs to another pool, or its backend is
gone, full, failing, or under ``drain``, which takes nothing new, not even from those who know it. The policy chooses
then, and what the chosen backend answers carries a new cookie. A server error binds nobody to its backend, nor does an
answer that a shared cache may keep by its own words, for that hands the cookie on. The backend sees it, too.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import blake2b, sha256
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple, Self

from itsdangerous import Signer

from sidecar.contract.config.pools import Pool as PoolConfig
from sidecar.contract.config.pools import Sticky
from worker.headers import Peer, client_of, trust_in
from worker.http1 import RequestHead, ResponseHead

NAME_LENGTH = 12
"""Characters of base64 that name a backend, 72 bits: two of 1,024 share a name once in 10^16 pools."""

Networks = Sequence[IPv4Network | IPv6Network]
Trait = Callable[[RequestHead, bytes, Peer], bytes]
"""A head, its target and its peer to what tells the request apart; empty where nothing does."""

_FOR_EVERYBODY = re.compile(rb"\r\n(?i:cache-control):[^\r]*\b(?i:public\b|s-maxage\b|max-age=\"?0*[1-9])")
_FOR_ONE = re.compile(rb"\r\n(?i:cache-control):[^\r]*\b(?i:private|no-store)\b")
"""Which answers a shared cache may keep, and which it may not whatever else they say (RFC 9111 §3)."""


class Wish(NamedTuple):
    """Where a request would go. ``key`` is for ``rendezvous`` (0: none), ``row`` its cookie's backend (-1: none)."""

    key: int
    row: int


class Affinity:
    """How the requests of one pool are told apart."""

    __slots__ = ("_cookie", "_lines", "_rows", "_trait")

    def __init__(self, *, trait: Trait | None, sticky: Sticky | None, salt: str, rows: Mapping[str, int]) -> None:
        """Compute every cookie there can be; see ``of``."""
        self._trait = trait
        self._cookie: re.Pattern[bytes] | None = None
        self._rows: dict[bytes, int] = {}
        self._lines: dict[int, bytes] = {}
        if sticky is not None:
            self._cookie = _cookie_of(sticky.cookie)
            for backend_id, row in rows.items():
                value = cookie_value(sticky, salt, backend_id)
                self._rows[value] = row
                self._lines[row] = _set_cookie(sticky, value)

    @classmethod
    def of(cls, config: PoolConfig, *, salt: str, rows: Mapping[str, int], trusted: Networks) -> Self | None:
        """What a pool's config asks for; None where its requests are all alike.

        Args:
            config: of the pool; a sticky one has its secret.
            salt: the same wherever the same pool is served, and nowhere else.
            rows: each member's row on the board, by id.
            trusted: whose ``X-Forwarded-For`` is believed.
        """
        trait = _trait_of(config.balancing.hash_on, trusted) if config.balancing.policy == "rendezvous" else None
        if trait is None and config.sticky is None:
            return None
        return cls(trait=trait, sticky=config.sticky, salt=salt, rows=rows)

    def wish(self, head: RequestHead, target: bytes, peer: Peer) -> Wish:
        """Where a request would go; ``target`` as the backend is to see it."""
        key, row = 0, -1
        if self._trait is not None and (said := self._trait(head, target, peer)):
            key = hashed(said)
        if self._cookie is not None and (found := self._cookie.search(head.fields)):
            row = self._rows.get(found[1].rstrip(b" \t"), -1)
        return Wish(key, row)

    def binding(self, wish: Wish, row: int, head: ResponseHead) -> bytes:
        """The line for an answer's head that keeps the visitor with this row; empty where there is no need for one."""
        if wish.row == row or head.status >= 500 or _is_for_everybody(head.fields):
            return b""
        return self._lines.get(row, b"")


def _is_for_everybody(fields: bytes) -> bool:
    return _FOR_EVERYBODY.search(fields) is not None and not _FOR_ONE.search(fields)


def hashed(value: bytes) -> int:
    """A key of 64 bits, the same in all workers on all hosts, and never 0."""
    return int.from_bytes(blake2b(value, digest_size=8).digest()) or 1


def cookie_value(sticky: Sticky, salt: str, backend_id: str) -> bytes:
    """What the cookie of a backend's visitors says.

    Raises:
        ValueError: there is no secret.
    """
    if sticky.secret is None:
        raise ValueError("sticky.secret: a cookie cannot be signed without")
    sign = partial(Signer, sticky.secret, key_derivation="hmac", digest_method=sha256)
    name = sign(salt=f"sidebeat backend {salt}").get_signature(backend_id)[:NAME_LENGTH]
    return sign(salt=f"sidebeat sticky {salt}").sign(name)


def _set_cookie(sticky: Sticky, value: bytes) -> bytes:
    """RFC 6265bis §4.1; no script has any use for it."""
    parts = [f"Path={sticky.path}", "HttpOnly", f"SameSite={sticky.same_site.capitalize()}"]
    if sticky.domain is not None:
        parts.append(f"Domain={sticky.domain}")
    if sticky.max_age_s:
        parts.append(f"Max-Age={sticky.max_age_s}")
    if sticky.secure:
        parts.append("Secure")
    return b"\r\nSet-Cookie: %b=%b; %b" % (sticky.cookie.encode(), value, "; ".join(parts).encode())


def _cookie_of(name: str) -> re.Pattern[bytes]:
    """Finds the first cookie of that name in a block of fields."""
    # Possessive, or each blank after a semicolon would double the ways in which a long line does not match.
    before = rb"\r\n(?i:cookie):[ \t]*+(?:[^;\r]*+;[ \t]*+)*?"
    return re.compile(before + re.escape(name.encode()) + rb"=[ \t]*+([^;\r]*+)")


def _field_of(name: str) -> re.Pattern[bytes]:
    """Finds the first line of that name in a block of fields."""
    return re.compile(rb"\r\n(?i:" + re.escape(name.encode()) + rb"):[ \t]*+([^\r]*+)")


def _trait_of(hash_on: str, trusted: Networks) -> Trait:
    kind, _, name = hash_on.partition(":")
    match kind:
        case "header":
            return partial(_found, _field_of(name))
        case "cookie":
            return partial(_found, _cookie_of(name))
        case "path":
            return _path
        case _:
            return partial(_client, trust_in(trusted))


def _found(pattern: re.Pattern[bytes], head: RequestHead, target: bytes, peer: Peer) -> bytes:  # noqa: ARG001 - a trait
    match = pattern.search(head.fields)
    return match[1].rstrip(b" \t") if match else b""


def _path(head: RequestHead, target: bytes, peer: Peer) -> bytes:  # noqa: ARG001 - a trait
    """As it was written: two spellings may be two things to a backend."""
    return target.partition(b"?")[0]


def _client(trusts: Callable[[str], bool], head: RequestHead, target: bytes, peer: Peer) -> bytes:  # noqa: ARG001 - a trait
    """Who sent it; a unix socket's peer has no address."""
    client = client_of(trusts, head, peer)
    return b"" if client == b"unix" else client
