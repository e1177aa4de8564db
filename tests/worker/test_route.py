"""Which pool a request goes to, and which targets are no targets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.contract.config import Route
from worker.failure import Failure, Refused
from worker.route import Destination, Router, split_target


def found(*routes: Route, method: bytes = b"GET", host: bytes = b"h", path: bytes = b"/") -> str | None:
    destination = Router(routes).find(method, host, path)
    return destination.pool if destination else None


def stripped(prefix: str, path: bytes) -> bytes:
    """What is left of a path, as the exchange takes the prefix off."""
    destination = Router([Route(pool="a", path_prefix=prefix, strip_prefix=True)]).find(b"GET", b"h", path)
    assert destination is not None
    return path.removeprefix(destination.strip) or b"/"


API = Route(pool="api", path_prefix="/api")
DEEP = Route(pool="deep", path_prefix="/api/v2")
ROOT = Route(pool="root")


@pytest.mark.parametrize(
    ("path", "pool"),
    [
        (b"/", "root"),
        (b"/api", "api"),
        (b"/api/", "api"),
        (b"/api/x", "api"),
        (b"/apix", "root"),
        (b"/API", "root"),
        (b"/api/v2", "deep"),
        (b"/api/v2/x", "deep"),
        (b"/api/v2x", "api"),
        (b"//api", "root"),
        (b"/x/api", "root"),
        (b"/%61pi/x", "api"),
        (b"/api%20x", "root"),
        (b"/api;x", "root"),
        (b"*", "root"),
    ],
)
def test_the_longest_prefix_wins_and_ends_at_a_slash(path, pool):
    """RFC 3986 §6.2.2.2: an escaped letter is the letter."""
    for routes in ([ROOT, API, DEEP], [DEEP, API, ROOT], [API, ROOT, DEEP]):
        assert found(*routes, path=path) == pool


def test_a_prefix_that_ends_in_a_slash_needs_it():
    routes = [Route(pool="a", path_prefix="/a/")]
    assert found(*routes, path=b"/a/") == "a"
    assert found(*routes, path=b"/a/b") == "a"
    assert found(*routes, path=b"/a") is None


@pytest.mark.parametrize(
    ("host", "pool"),
    [
        (b"shop.example", "shop"),
        (b"SHOP.example:8443", "shop"),
        (b"shop.example.", "shop"),
        (b"shop.example:", "shop"),
        (b"shop.example.:80", "shop"),
        (b"xshop.example", "deep"),
        (b"shop.example.org", "deep"),
        (b"shop.example:x", "deep"),
        (b"", "deep"),
    ],
)
def test_a_route_for_a_host_comes_before_longer_prefixes_without_one(host, pool):
    """RFC 9110 §4.2.3: case, an empty port and the port itself do not make another host."""
    shop = Route(pool="shop", host="Shop.Example", path_prefix="/api")
    assert found(DEEP, shop, host=host, path=b"/api/v2") == pool


@pytest.mark.parametrize("host", [b"[::1]", b"[::1]:8080", b"[::1]:"])
def test_an_ipv6_host_is_told_from_its_port(host):
    routes = [Route(pool="six", host="[::1]"), ROOT]
    assert found(*routes, host=host) == "six"
    assert found(*routes, host=b"[::2]") == "root"


def test_among_equals_the_first_in_the_file_wins():
    first, second = Route(pool="first", path_prefix="/a"), Route(pool="second", path_prefix="/a")
    assert found(first, second, path=b"/a") == "first"
    assert found(second, first, path=b"/a") == "second"


def test_methods_narrow_a_route_down_and_are_case_sensitive():
    """RFC 9110 §9.1."""
    routes = [Route(pool="write", path_prefix="/a", methods=("POST", "PUT")), Route(pool="read", methods=("GET",))]
    assert found(*routes, method=b"POST", path=b"/a") == "write"
    assert found(*routes, method=b"GET", path=b"/a") == "read"
    assert found(*routes, method=b"post", path=b"/a") is None
    assert found(*routes, method=b"HEAD", path=b"/a") is None


def test_no_match_is_none():
    assert found(API, path=b"/") is None
    assert found(API, path=b"*") is None
    assert found(Route(pool="a", host="b"), host=b"c") is None


@pytest.mark.parametrize(
    ("prefix", "path", "left"),
    [
        ("/api", b"/api", b"/"),
        ("/api", b"/api/", b"/"),
        ("/api", b"/api/x", b"/x"),
        ("/api", b"/api//x", b"//x"),
        ("/api", b"/%61p%69/%61", b"/%61"),
        ("/api", b"/%61pi", b"/"),
        ("/api/", b"/api/x", b"/x"),
        ("/", b"/x", b"/x"),
    ],
)
def test_a_prefix_is_taken_off_as_the_client_spelled_it(prefix, path, left):
    """RFC 3986 §6.2.2.2: found by its reading and taken off by its bytes, what follows untouched."""
    assert stripped(prefix, path) == left


def test_a_route_says_where_a_request_goes_and_how_it_changes():
    route = Route(pool="a", path_prefix="/x/", strip_prefix=True, host_header="upstream")
    assert Router([route]).find(b"GET", b"h", b"/x/y") == Destination(pool="a", strip=b"/x", host_header="upstream")


AMBIGUOUS = [
    b"/a/../api", b"/..", b"/a/..", b"/.", b"/./api", b"/a/.", b"/a%2fb", b"/a%2Fb", b"/%2e%2e/api", b"/a/%2E/b",
    b"/%2e", b"/a\\b", b"/a%5cb", b"/a%5Cb", b"/a%00", b"/..;/api", b"/x/.;a=b/api",
]  # fmt: skip


@pytest.mark.parametrize("path", AMBIGUOUS)
def test_a_path_that_reads_two_ways_is_refused_where_prefixes_decide(path):
    """RFC 3986 §6.2.2.3, §7.3: the backend might read the other way."""
    with pytest.raises(Refused) as refused:
        found(ROOT, API, path=path)
    assert refused.value.failure is Failure.BAD_REQUEST
    with pytest.raises(Refused):
        stripped("/api", path)


@pytest.mark.parametrize("path", [*AMBIGUOUS, b"/%zz", b"/a;b"])
def test_a_path_that_reads_two_ways_passes_where_no_prefix_decides(path):
    """Encoded slashes are part of many APIs; nothing is bypassed where every path goes to the same place."""
    assert found(ROOT, path=path) == "root"
    assert found(Route(pool="a", host="h"), Route(pool="b", methods=("POST",)), path=path) == "a"
    assert Router([ROOT]).only == Destination(pool="root", strip=b"", host_header="preserve")


@pytest.mark.parametrize(
    "path", [b"/...", b"/a..b", b"/.a", b"/a.", b"/a/...;", b"/%252e", b"/%41", b"/a;b", b"/%zz", b"/%"]
)
def test_what_only_looks_like_it_is_not_refused(path):
    assert found(ROOT, API, path=path) == "root"


@pytest.mark.parametrize(
    "route",
    [
        API,
        Route(pool="a", host="b"),
        Route(pool="a", methods=("GET",)),
        Route(pool="a", path_prefix="/a", strip_prefix=True),
    ],
)
def test_a_route_that_does_not_take_everything_is_never_the_only_one(route):
    assert Router([route]).only is None
    assert Router([ROOT, ROOT]).only is None


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        (b"/", (None, b"/", b"")),
        (b"/a?b?c=/..", (None, b"/a", b"?b?c=/..")),
        (b"/?", (None, b"/", b"?")),
        (b"//a@b/c", (None, b"//a@b/c", b"")),
        (b"*", (None, b"*", b"")),
        (b"http://a", (b"a", b"/", b"")),
        (b"http://a?b", (b"a", b"/", b"?b")),
        (b"HTTPS://A:80/b//c?d", (b"A:80", b"/b//c", b"?d")),
        (b"http://[::1]:80/", (b"[::1]:80", b"/", b"")),
        (b"http://a/http://b", (b"a", b"/http://b", b"")),
    ],
)
def test_a_target_comes_apart_without_loss(target, parts):
    """RFC 9112 §3.2.1, §3.2.2, §3.2.4."""
    assert split_target(target) == parts


@pytest.mark.parametrize(
    "target",
    [
        b"a", b"a:80", b"?a", b"", b"**", b"*/a", b"http:/a", b"http://", b"http:///a", b"http://?a", b"http://:80/",
        b"http://u@a/", b"http://u:p@a/", b"http://a\\b/", b"http://a,b/", b"http://\xff/", b"ftp://a/", b"ws://a/",
        b"javascript:a", b"http//a",
    ],
)  # fmt: skip
def test_what_is_no_target_of_ours_is_refused(target):
    """RFC 9112 §3.2; RFC 9110 §4.2.1 (no empty host), §4.2.4 (no userinfo)."""
    with pytest.raises(Refused) as refused:
        split_target(target)
    assert refused.value.failure is Failure.BAD_REQUEST


@pytest.mark.parametrize(
    ("upgrade", "allowed"), [("any", None), ((), frozenset()), (("WebSocket", "chat/2"), {b"websocket", b"chat/2"})]
)
def test_a_destination_knows_what_it_may_be_switched_to(upgrade, allowed):
    destination = Router([Route(pool="a", upgrade=upgrade)]).only
    assert destination is not None
    assert destination.upgrade == allowed


visible = st.text([chr(code) for code in range(33, 127) if chr(code) != "#"], max_size=12).map(str.encode)


@given(visible, st.sampled_from([b"", b"http://a", b"http://a:80"]))
def test_path_and_query_are_forwarded_byte_for_byte(rest, origin):
    """RFC 9110 §7.7: a proxy does not rewrite them."""
    authority, path, query = split_target(origin + b"/" + rest)
    assert path + query == b"/" + rest
    assert b"http://" + authority == origin if authority else not origin


@given(st.lists(st.sampled_from(["/", "/a", "/a/", "/a/b", "/b"]), min_size=1, max_size=5), visible)
def test_a_route_is_found_if_and_only_if_a_prefix_covers_the_path(prefixes, rest):
    """And it is the longest that does."""
    path = b"/" + rest.replace(b"%", b"").replace(b"\\", b"").replace(b".", b"")
    routes = [Route(pool=f"p{number}", path_prefix=prefix) for number, prefix in enumerate(prefixes)]
    covering = [prefix for prefix in prefixes if (path + b"/").startswith(prefix.rstrip("/").encode() + b"/")]
    covering = [prefix for prefix in covering if path.startswith(prefix.encode())]
    expected = f"p{prefixes.index(max(covering, key=len))}" if covering else None
    assert found(*routes, path=path) == expected
