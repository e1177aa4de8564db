"""What a checker is given to watch, read into backends; the same mistakes raise the same errors as in the original."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import httpx

from sidecar.contract.config import BackendTable
from sidecar.contract.model import Backend, parse_address

_TABLE = frozenset({"id", "weight", "backup", "zone", "max_inflight"})
"""Keys of a personalised target that mean the same as in a config file's ``backends``; others are its owner's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One of them: its origin as users name it, and what is asked of it.

    ``config`` is what it was given as, empty for plain text. ``max_requests`` None: no limit; 0: it gets nothing.
    """

    host: str
    path: str
    backend: Backend
    max_requests: int | None
    config: dict[str, Any]


def read_targets(targets: Sequence[str] | Sequence[dict[str, Any]], ping_path: str) -> list[Watched]:
    """Read them in order; of those with the same origin the last one counts.

    Raises:
        ValueError: there is none, or an address cannot be read.
        TypeError: they are neither all text nor all dictionaries.
        KeyError: a dictionary has no ``host``.
    """
    if not targets:
        raise ValueError("Targets list cannot be empty")
    kind = type(targets[0])
    if kind not in (str, dict):
        raise TypeError("Targets must be a list of strings or a list of dictionaries")
    read: dict[str, Watched] = {}
    for index, target in enumerate(targets):
        if not isinstance(target, kind):
            raise TypeError(f"Mixed types in targets at index {index}. Total list must be same type.")
        if isinstance(target, str):
            one = _watched(target, ping_path, {})
        elif "host" in target:
            one = _watched(target["host"], target.get("pingpath", "/"), target)
        else:
            raise KeyError(f"Target dictionary at index {index} missing required 'host' key")
        read[one.host] = one
    return _apart(list(read.values()))


def origin_of(target: str) -> str:
    """A target without its path, spelt as it was; without a scheme it is http."""
    if target.startswith("unix:"):
        return target
    parts = urlsplit(target if "://" in target else f"http://{target}")
    return f"{parts.scheme}://{parts.netloc}"


def sendable(path: str) -> str:
    """A path as it may stand in a request; what it lacks of that is encoded."""
    return httpx.URL("http://backend/" + path.lstrip("/")).raw_path.decode("ascii")


def _watched(target: str, path: str, config: dict[str, Any]) -> Watched:
    host = origin_of(target)
    parse_address(host)  # whose words are fewer than those of a table's
    table = {"url": host, **{key: value for key, value in config.items() if key in _TABLE}}
    return Watched(
        host=host,
        path=sendable(path),
        backend=BackendTable.model_validate(table).backend(),
        max_requests=config.get("maxrequests"),
        config=config,
    )


def _apart(watched: list[Watched]) -> list[Watched]:
    """With an id of its own for each: ``http://a`` and ``http://a:80`` are two targets to whoever wrote them."""
    taken: set[str] = set()
    apart = []
    for one in watched:
        name, number = one.backend.id, 2
        while name in taken:
            name, number = f"{one.backend.id}-{number}", number + 1
        taken.add(name)
        apart.append(replace(one, backend=replace(one.backend, id=name)))
    return apart
