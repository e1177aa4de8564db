"""Which route takes a request, and why the others do not, in words. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from worker.http1 import RequestHead
from worker.route import Route, Router, split_target


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteReading:
    """A route, whether it takes the request, and why it does or does not."""

    pool: str
    host: str | None
    path_prefix: str
    methods: tuple[str, ...]
    taken: bool
    why: str


def read_routes(router: Router, head: RequestHead) -> tuple[RouteReading, ...]:
    """All routes, in the order in which they are asked.

    Raises:
        Refused: the target is none.
    """
    authority, path, _ = split_target(head.target, head.method)
    return tuple(_read(router.readings(head.method, head.host if authority is None else authority, path)))


def _read(readings: list[tuple[Route, str]]) -> Iterator[RouteReading]:
    taker: Route | None = None
    for route, mismatch in readings:
        taken = taker is None and not mismatch
        yield RouteReading(
            pool=route.pool,
            host=route.host,
            path_prefix=route.path_prefix,
            methods=tuple(route.methods),
            taken=taken,
            why=_why(route, mismatch, taker, alone=len(readings) == 1),
        )
        taker = route if taken else taker


def _why(route: Route, mismatch: str, taker: Route | None, *, alone: bool) -> str:
    if mismatch:
        return {
            "host": f"the host is not {route.host}",
            "method": f"the method is not {' or '.join(route.methods)}",
            "path": f"the path is not below {route.path_prefix}",
        }[mismatch]
    if taker is None:
        return "it is the only one" if alone else "it is the first that matches, by host, then by the longest prefix"
    return f"it matches, too, but {_precedence(route, taker)}"


def _precedence(route: Route, taker: Route) -> str:
    if taker.host and not route.host:
        return "a route that names the host goes first"
    if len(taker.path_prefix) > len(route.path_prefix):
        return f"{taker.path_prefix} is longer"
    return "the other one stands before it in the file"
