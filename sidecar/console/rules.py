"""Who may come in, by what a request says of itself. Pure.

A page of somebody else's, open in the operator's browser, can send requests here. It cannot forge the fields Host,
Origin and Sec-Fetch-Site, and it cannot send JSON across origins without being asked first.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

SAFE = ("GET", "HEAD")
API = "/api/"
FORWARDING = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
"""Fields of whoever came by way of somebody else, and so from anywhere."""

Fields = Mapping[str, Sequence[str]]
"""The values of each field, by its name in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A request that goes no further: a status, and why in words."""

    status: int
    why: str


def refusal(method: str, path: str, fields: Fields, names: Collection[str]) -> Refusal | None:
    """Why a request may not come in at all, whoever sends it; None: it may.

    Args:
        method: as it came.
        path: without the query.
        fields: of the request.
        names: by which we are known beside ``localhost`` and IP addresses, in lower case.
    """
    if method not in (*SAFE, "POST"):
        return Refusal(status=405, why=f"{method} is not for here")
    hosts = fields.get("host", ())
    if len(hosts) != 1:
        return Refusal(status=400, why="a request has one Host field")
    if not _is_ours(name_of(hosts[0]), names):
        return Refusal(status=403, why=f"{hosts[0]!r:.80} is no name of this console; console.hosts lists more")
    if _is_foreign(path, fields, hosts[0]):
        return Refusal(status=403, why="a page of another origin may not ask this")
    if method == "POST" and not _is_json(fields):
        return Refusal(status=415, why="the body must be JSON, and Content-Type say so")
    return None


def fields_of(pairs: Iterable[tuple[bytes, bytes]]) -> Fields:
    """The fields of a request, from its header lines in order."""
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return fields


def name_of(host: str) -> str:
    """The name or address in a Host field, without port, brackets and the dot at the end."""
    name, colon, port = host.strip().lower().rpartition(":")
    if not colon or not port.isdecimal() or (":" in name and not name.endswith("]")):
        name = host.strip().lower()
    return name.removeprefix("[").removesuffix("]").removesuffix(".")


def is_direct(fields: Fields) -> bool:
    """Whether a request to a loopback address came straight from this machine: by such a name, and through nobody."""
    if any(name in fields for name in FORWARDING):
        return False
    name = name_of(fields.get("host", ("",))[0])
    address = _address(name)
    return name == "localhost" or (address is not None and address.is_loopback)


def _is_ours(name: str, names: Collection[str]) -> bool:
    """An address is: who rebinds a name (DNS rebinding) has that name in Host."""
    return name == "localhost" or name in names or _address(name) is not None


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name)
    except ValueError:
        return None


def _is_foreign(path: str, fields: Fields, host: str) -> bool:
    """Whether a page of another origin asks. The scheme may differ: a proxy may speak TLS for us."""
    if any(origin.partition("://")[2].lower() != host.lower() for origin in fields.get("origin", ())):
        return True
    sites = fields.get("sec-fetch-site", ())
    return path.startswith(API) and any(site not in ("same-origin", "none") for site in sites)


def _is_json(fields: Fields) -> bool:
    kinds = fields.get("content-type", ())
    return len(kinds) == 1 and kinds[0].partition(";")[0].strip().lower() == "application/json"
