"""Of every route it is told why it takes a request, or why not."""

from typing import Any

import pytest

from sidecar.contract.config import Route
from worker.explain.routes import read_routes
from worker.http1 import read_request
from worker.route import Router

ROUTES: list[dict[str, Any]] = [
    {"pool": "all"},
    {"pool": "late"},
    {"pool": "api", "path_prefix": "/api"},
    {"pool": "writes", "path_prefix": "/api", "methods": ["POST", "PUT"]},
    {"pool": "shop", "host": "shop.test"},
]


def told(method: str, url: str, host: str = "h") -> dict[str, tuple[bool, str]]:
    head = read_request(f"{method} {url} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), 65_536, 100)
    assert head is not None
    router = Router([Route.model_validate(route) for route in ROUTES])
    readings = read_routes(router, head)
    destination = router.find(head.method, head.host, head.target.partition(b"?")[0])
    assert destination is not None
    assert [each.pool for each in readings if each.taken] == [destination.pool], "it is the router who decides"
    return {each.pool: (each.taken, each.why) for each in readings}


def test_each_route_that_does_not_match_says_what_of_it():
    found = told("GET", "/x")
    assert found["shop"] == (False, "the host is not shop.test")
    assert found["api"] == (False, "the path is not below /api")
    assert told("GET", "/api/x")["writes"] == (False, "the method is not POST or PUT")


@pytest.mark.parametrize(
    ("url", "host", "pool", "why"),
    [
        ("/api/x", "h", "all", "it matches, too, but /api is longer"),
        ("/x", "h", "late", "it matches, too, but the other one stands before it in the file"),
        ("/api", "Shop.Test:80", "api", "it matches, too, but a route that names the host goes first"),
    ],
)
def test_each_that_matches_and_is_not_taken_says_what_goes_first(url: str, host: str, pool: str, why: str):
    assert told("GET", url, host)[pool] == (False, why)


def test_a_route_that_is_alone_says_so():
    head = read_request(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 65_536, 100)
    assert head is not None
    [only] = read_routes(Router([Route(pool="all")]), head)
    assert (only.taken, only.why) == (True, "it is the only one")
