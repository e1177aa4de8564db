"""What a request is told apart by: its cookie, or whatever it is hashed by."""

from hashlib import sha256
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import Signer

from sidecar.contract.config import Pool as PoolConfig
from sidecar.contract.config import parse
from worker.affinity import Affinity, Wish, cookie_value, hashed
from worker.board import board_for
from worker.failure import Failure
from worker.headers import Peer
from worker.http1 import RequestHead, ResponseHead, read_request, read_response
from worker.runtime import Runtime

ROWS = {"a": 3, "b": 7}
SECRET = "a secret of some length"
STICKY = {"cookie": "sb", "secret": SECRET}
VISITOR = Peer(address="192.0.2.7", port=80, trusted=False)
PROXY = Peer(address="10.0.0.1", port=80, trusted=True)
TRUSTED = (ip_network("10.0.0.0/8"),)


def pool(**sections: Any) -> PoolConfig:
    members = [{"url": f"http://{name}.test", "id": name} for name in ROWS]
    return PoolConfig.model_validate({"backends": members, **sections})


def affinity(*, salt: str = "test:api", **sections: Any) -> Affinity:
    made = Affinity.of(pool(**sections), salt=salt, rows=ROWS, trusted=TRUSTED)
    assert made is not None
    return made


def hashing(hash_on: str) -> Affinity:
    return affinity(balancing={"policy": "rendezvous", "hash_on": hash_on})


def sticky(salt: str = "test:api", **settings: Any) -> Affinity:
    return affinity(salt=salt, sticky={**STICKY, **settings})


def value_of(backend: str, salt: str = "test:api", **settings: Any) -> bytes:
    config = pool(sticky={**STICKY, **settings}).sticky
    assert config is not None
    return cookie_value(config, salt, backend)


def request(*lines: bytes) -> RequestHead:
    head = read_request(
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n", 1 << 20, 100
    )
    assert head is not None
    return head


def answer(status: int = 200, *lines: bytes) -> ResponseHead:
    head = b"HTTP/1.1 %d X\r\n" % status + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    read = read_response(head, 65536, to_head=False)
    assert read is not None
    return read


def row_of(*lines: bytes) -> int:
    return sticky().wish(request(*lines), b"/", VISITOR).row


def key_of(hash_on: str, *lines: bytes, target: bytes = b"/", peer: Peer = VISITOR) -> int:
    return hashing(hash_on).wish(request(*lines), target, peer).key


def test_a_pool_whose_requests_are_all_alike_has_none():
    assert Affinity.of(pool(), salt="", rows=ROWS, trusted=()) is None
    assert Affinity.of(pool(balancing={"hash_on": "path"}), salt="", rows=ROWS, trusted=()) is None


# The cookie


A, B = value_of("a"), value_of("b")


@pytest.mark.parametrize(
    ("lines", "row"),
    [
        ([b"Cookie: sb=" + A], 3),
        ([b"Cookie: sb=" + B], 7),
        ([b"cookie:sb=" + A], 3),
        ([b"COOKIE: x=1; sb=" + A + b"; y=2"], 3),
        ([b"Cookie: x=1;sb=" + A + b" ; y=2"], 3),
        ([b"Cookie: x=1", b"Accept: */*", b"Cookie: sb=" + A], 3),
        ([b"Cookie: sb=" + A + b"; sb=" + B], 3),
        ([b"Cookie: sb=junk; sb=" + B], -1),
        ([b"Cookie: SB=" + A], -1),
        ([b"Cookie: xsb=" + A], -1),
        ([b"Cookie: sb2=" + A], -1),
        ([b'Cookie: sb="' + A + b'"'], -1),
        ([b"Cookie: sb=" + A[:-1]], -1),
        ([b"Cookie: sb=" + A + b"x" * 5000], -1),
        ([b"Cookie: sb=" + A[:12] + B[12:]], -1),
        ([b"Cookie: sb="], -1),
        ([b"Cookie: sb"], -1),
        ([b"X-Cookie: sb=" + A], -1),
        ([b"X: Cookie: sb=" + A], -1),
        ([], -1),
    ],
)
def test_the_first_cookie_of_the_name_says_whose_visitor_it_is(lines: list[bytes], row: int):
    assert row_of(*lines) == row


pairs = st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=";"), max_size=8))


@given(before=pairs, after=pairs)
def test_a_cookie_is_found_among_any_others(before: list[str], after: list[str]):
    others = [pair for pair in before if not pair.startswith("sb=")]
    line = "; ".join([*others, f"sb={A.decode()}", *after]).encode()
    assert row_of(b"Cookie: " + line) == 3


@given(st.integers(0, len(A) - 1), st.sampled_from(b"AZaz09._-!"))
def test_a_cookie_that_was_changed_is_none(place: int, char: int):
    changed = A[:place] + bytes([char]) + A[place + 1 :]
    assert row_of(b"Cookie: sb=" + changed) == (3 if changed == A else -1)


def test_a_long_line_that_does_not_match_is_read_in_one_go():
    """It took every way to split the blanks: so many would be tried for hours."""
    assert row_of(b"Cookie: " + b"; \t " * 200_000) == -1


def test_a_cookie_is_signed_and_shows_no_name():
    signer = Signer(SECRET, salt="sidebeat sticky test:api", key_derivation="hmac", digest_method=sha256)
    for name in ("a", "b", "10.0.0.1:8081"):
        value = value_of(name)
        assert len(signer.unsign(value)) == 12
        assert value == value_of(name)
        assert len(value) == len(A)
    assert A[:12] != B[:12]
    assert b"8081" not in value_of("10.0.0.1:8081")


@pytest.mark.parametrize("other", [{"salt": "test:web"}, {"secret": "another secret of some length"}])
def test_a_cookie_of_another_pool_or_secret_is_none(other: dict[str, str]):
    foreign = sticky(**other).wish(request(b"Cookie: sb=" + A), b"/", VISITOR)
    assert foreign == Wish(0, -1)


def test_without_a_secret_nothing_is_signed():
    with pytest.raises(ValueError, match=r"sticky\.secret"):
        affinity(sticky={"cookie": "sb"})


def test_the_answer_of_another_backend_than_the_cookies_carries_a_new_one():
    kept = sticky()
    assert kept.binding(Wish(0, 3), 3, answer()) == b""
    for row in (7, -1):
        assert kept.binding(Wish(0, row), 3, answer()).startswith(b"\r\nSet-Cookie: sb=" + A + b"; ")


@pytest.mark.parametrize(
    ("settings", "attributes"),
    [
        ({}, b"Path=/; HttpOnly; SameSite=Lax"),
        ({"same_site": "strict", "path": "/app"}, b"Path=/app; HttpOnly; SameSite=Strict"),
        ({"same_site": "none", "secure": True}, b"Path=/; HttpOnly; SameSite=None; Secure"),
        (
            {"domain": "example.org", "max_age_s": 60},
            b"Path=/; HttpOnly; SameSite=Lax; Domain=example.org; Max-Age=60",
        ),
    ],
)
def test_a_cookie_is_set_as_configured(settings: dict[str, Any], attributes: bytes):
    line = sticky(**settings).binding(Wish(0, -1), 3, answer())
    assert line == b"\r\nSet-Cookie: sb=" + A + b"; " + attributes


@pytest.mark.parametrize(
    ("response", "binds"),
    [
        (answer(200), True),
        (answer(404), True),
        (answer(101), True),
        (answer(500), False),
        (answer(503), False),
        (answer(200, b"Cache-Control: private, max-age=60"), True),
        (answer(200, b"Cache-Control: max-age=60"), False),
        (answer(200, b"Cache-Control: max-age=0, must-revalidate"), True),
        (answer(200, b"Cache-Control: max-age=60\r\nCache-Control: no-store"), True),
        (answer(200, b"cache-control: max-age=60, Public"), False),
        (answer(200, b"Cache-Control: s-maxage=60"), False),
        (answer(200, b"X-Note: public"), True),
    ],
)
def test_neither_a_server_error_nor_what_caches_may_give_to_everybody_binds(response: ResponseHead, binds: bool):
    """A lifetime alone once let the cookie through, though any shared cache may keep such an answer (RFC 9111 §3)."""
    assert bool(sticky().binding(Wish(0, -1), 3, response)) is binds


def test_what_is_only_hashed_is_not_bound():
    assert hashing("path").binding(Wish(1, -1), 3, answer()) == b""


# The key


@pytest.mark.parametrize(
    ("hash_on", "lines", "by"),
    [
        ("header:X-User", [b"x-user:  ada \t"], b"ada"),
        ("header:X-User", [b"X-User: ada", b"X-User: bob"], b"ada"),
        ("header:X-User", [b"X-User: "], None),
        ("header:X-User", [b"X-User-2: ada"], None),
        ("header:X.User", [b"X-User: ada"], None),
        ("cookie:sid", [b"Cookie: a=b; sid=17; c=d"], b"17"),
        ("cookie:sid", [b"Cookie: SID=17"], None),
        ("cookie:sid", [], None),
        ("path", [], b"/a%2Fb"),
        ("client_address", [b"X-Forwarded-For: 198.51.100.9"], b"192.0.2.7"),
    ],
)
def test_requests_are_hashed_by_what_the_config_names(hash_on: str, lines: list[bytes], by: bytes | None):
    assert key_of(hash_on, *lines, target=b"/a%2Fb?c=d") == (0 if by is None else hashed(by))


@pytest.mark.parametrize(
    ("said", "client"),
    [
        ([], b"10.0.0.1"),
        ([b"198.51.100.9"], b"198.51.100.9"),
        ([b"203.0.113.5, 198.51.100.9"], b"198.51.100.9"),
        ([b"203.0.113.5, 198.51.100.9, 10.9.9.9 ,10.1.1.1"], b"198.51.100.9"),
        ([b"203.0.113.5, 198.51.100.9", b"10.9.9.9"], b"198.51.100.9"),
        ([b"198.51.100.9:4711, 10.1.1.1:80"], b"198.51.100.9"),
        ([b"[2001:db8::1]:4711, 10.1.1.1"], b"2001:db8::1"),
        ([b"2001:db8::1"], b"2001:db8::1"),
        ([b"unknown, 10.1.1.1"], b"unknown"),
        ([b"10.2.2.2, 10.1.1.1"], b"10.2.2.2"),
        ([b" , "], b"10.0.0.1"),
    ],
)
def test_the_client_is_the_last_hop_that_no_trusted_proxy_is(said: list[bytes], client: bytes):
    lines = [b"X-Forwarded-For: " + each for each in said]
    assert key_of("client_address", *lines, peer=PROXY) == hashed(client)


def test_the_peer_of_a_unix_socket_has_no_address_to_be_told_apart_by():
    assert key_of("client_address", peer=Peer(address="", port=0, trusted=False)) == 0


def test_keys_are_the_same_on_every_host():
    assert hashed(b"ada") == 0x15B0DA4321160527  # printf ada | b2sum -l 64
    assert len({hashed(b"%d" % number) for number in range(1000)}) == 1000


def test_a_sticky_pool_may_hash_those_who_have_no_cookie_yet():
    both = affinity(sticky=STICKY, balancing={"policy": "rendezvous", "hash_on": "header:X-User"})
    assert both.wish(request(b"X-User: ada", b"Cookie: sb=" + B), b"/", VISITOR) == Wish(hashed(b"ada"), 7)


# Whom the pool gives them


@pytest.fixture
async def runtime() -> Runtime:
    content = {"store": {"url": "unix:///nowhere"}, "pools": {"api": pool(sticky=STICKY).model_dump()}}
    config = parse(content, {})
    board = board_for(config)
    return Runtime(config, board, board.claim(), "test", {})


async def test_a_visitor_gets_its_backend_while_that_is_eligible_and_was_not_tried(runtime: Runtime):
    api, now = runtime.pools["api"], runtime.clock()
    one, other = (candidate.row for candidate in api.selection.candidates)
    for _ in range(20):
        taken = [api.take((), now, False, Wish(0, one)), api.take((one,), now, False, Wish(0, one))]
        assert [each.row for each in taken if each] == [one, other]
    api.passive.blame(one, Failure.REFUSED, now, "refused", is_hard=True)
    for _ in range(20):
        away = api.take((), now, False, Wish(0, one))
        assert away is not None
        assert away.row == other


async def test_a_visitor_of_a_good_backend_is_nobodys_canary(runtime: Runtime):
    """A canary that is answered stays where it was sent."""
    api, now = runtime.pools["api"], runtime.clock()
    one, other = (candidate.row for candidate in api.selection.candidates)
    for _ in range(5):
        api.passive.blame(other, Failure.GATEWAY_ERROR, now, "status 502")
    later = now + 30
    kept, next_one = api.take((), later, True, Wish(0, one)), api.take((), later, True, Wish(0, -1))
    assert kept is not None
    assert next_one is not None
    assert (kept.row, kept.is_canary) == (one, False)
    assert (next_one.row, next_one.is_canary) == (other, True)
