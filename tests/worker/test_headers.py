"""What changes in a head on its way, and that nothing else does (RFC 9110 §7.6)."""

import tracemalloc
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.headers import (
    Peer,
    is_event_stream,
    is_last_hop,
    is_trusted,
    keep_upgrades,
    loops,
    request_head,
    response_fields,
    upgrade_of,
)
from worker.http1 import RequestHead, ResponseHead, read_request, read_response

VIA = b"sidebeat-us"
DATE = b"Mon, 01 Jan 2024 00:00:00 GMT"
CLIENT = Peer(address="192.0.2.7", port=8000, trusted=False)
PROXY = Peer(address="192.0.2.7", port=8000, trusted=True)
SAID_OF_CLIENT = [
    b"X-Forwarded-For: 192.0.2.7",
    b"X-Forwarded-Proto: http",
    b"X-Forwarded-Port: 8000",
    b"X-Forwarded-Host: a",
    b"Via: 1.1 sidebeat-us",
]


def request(*lines: bytes, method: bytes = b"GET", version: int = 1) -> RequestHead:
    head = b"\r\n".join([method + b" / HTTP/1.%d" % version, b"Host: a", *lines, b"", b""])
    read = read_request(head, 1 << 20, 100)
    assert read is not None
    return read


def response(*lines: bytes, status: int = 200, version: int = 1, to_head: bool = False) -> ResponseHead:
    head = b"\r\n".join([b"HTTP/1.%d %d X" % (version, status), *lines, b"", b""])
    read = read_response(head, 65_536, to_head=to_head)
    assert read is not None
    return read


def sent(*lines: bytes, peer: Peer = CLIENT, host: bytes | None = None, **head) -> list[bytes]:
    """The lines a backend gets, but for Host."""
    block = request_head(request(*lines, **head), b"/", peer, VIA, host).removeprefix(b"GET / HTTP/1.1")
    assert block.startswith(b"\r\n")
    assert block.endswith(b"\r\n\r\n")
    first, *others = block[2:-4].split(b"\r\n")
    assert first == b"Host: " + (b"a" if host is None else host)
    return others


def passed(*lines: bytes, **head) -> list[bytes]:
    """Of these lines those that a backend gets, and what came instead."""
    got = sent(*lines, **head)
    assert got[-5:] == SAID_OF_CLIENT
    return got[:-5]


def answered(*lines: bytes, framing: bytes | None = None, **head) -> list[bytes]:
    """The lines a client gets, but for Via and a Date of ours."""
    block = response_fields(response(*lines, **head), VIA, DATE, framing=framing)
    assert block.startswith(b"\r\n")
    *others, via = block[2:].split(b"\r\n")
    assert via == b"Via: 1.1 sidebeat-us"
    return [line for line in others if line != b"Date: " + DATE]


PLAIN = [
    b"User-Agent: x",
    b"accept:  */* ",
    b"X-Latin: caf\xe9\x80\xff",
    b"COOKIE: a=1; b=2",
    b"cookie: c=3",
    b"X-Empty:",
    b"X_Under.score!: a\tb",
    b"Content-Type: text/plain",
    b"Content-Type: text/html",
    b"Trailer: X-Sum",
    b"Expect: 100-continue",
    b"Content-Length: 5",
    b"Range: bytes=0-1",
    b"Host-Like: b",
    b"X-Host: b",
    b"Connections: x",
    b"TEA: x",
    b"Upgrade-Insecure-Requests: 1",
    b"Date: today",
    b"X-Forwarded-Prefix: /p",
]
SET_COOKIES = [b"Set-Cookie: a=1", b"set-cookie: b=2; Secure", b"Set-Cookie: a=1"]


def test_order_case_duplicates_spaces_and_latin_1_bytes_are_kept():
    """RFC 9110 §5.3."""
    assert passed(*PLAIN) == PLAIN
    assert answered(*PLAIN, *SET_COOKIES) == [*PLAIN, *SET_COOKIES]


@pytest.mark.parametrize("also", [b"Connection: close", b"TE: trailers", b"X-Sidebeat-A: b", b"Via: 1.1 b"])
def test_what_is_kept_does_not_depend_on_what_is_taken_off(also):
    """RFC 9110 §5.3: the rest of a head that needs changing is as untouched as one that needs none."""
    assert [line for line in passed(*PLAIN[:9], also, *PLAIN[9:]) if line in PLAIN] == PLAIN
    assert [line for line in answered(*PLAIN[:9], also, *PLAIN[9:]) if line in PLAIN] == PLAIN


def test_nothing_is_invented():
    """No Accept-Encoding, User-Agent, Server, Cache-Control or Connection of ours; Via and Date are the protocol's."""
    assert sent() == SAID_OF_CLIENT
    assert answered() == []


HOP_BY_HOP = [
    b"Connection: close",
    b"Connection: keep-alive",
    b"connection:keep-alive",
    b"Connection: Keep-Alive ",
    b"Connection: close ",
    b"Connection:  close",
    b"CONNECTION: x, y",
    b"Keep-Alive: timeout=5",
    b"Proxy-Connection: keep-alive",
    b"Upgrade: websocket",
    b"HTTP2-Settings: AAMA",
    b"Proxy-Authorization: Basic x",
    b"proxy-authenticate: Basic",
    b"X-Sidebeat-Backend: b",
    b"x-sidebeat-:",
]


@pytest.mark.parametrize("line", [*HOP_BY_HOP, b"TE: gzip", b"te: trailers-not"])
def test_hop_by_hop_fields_end_here(line):
    """RFC 9110 §7.6.1, and those of ours."""
    assert passed(b"A: b", line, b"C: d") == [b"A: b", b"C: d"]
    assert answered(b"A: b", line, b"C: d") == [b"A: b", b"C: d"]


@pytest.mark.parametrize("line", [b"X-Health-State: degraded", b"x-health-weight: 5"])
def test_what_a_backend_tells_the_monitor_is_not_for_clients(line):
    assert answered(b"A: b", line) == [b"A: b"]


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ([b"Connection: X-Secret"], [b"a-X-Secret: 1", b"X-Secrets: 2", b"X-S: 3"]),
        ([b"connection: close, x-sEcret"], [b"a-X-Secret: 1", b"X-Secrets: 2", b"X-S: 3"]),
        ([b"Connection: x-s", b"Connection:\tX-SECRET ,x-secrets"], [b"a-X-Secret: 1"]),
        ([b"Connection: x-.*"], [b"x-secret: 0", b"a-X-Secret: 1", b"X-Secrets: 2", b"X-S: 3"]),
        ([b"Connection: ,, "], [b"x-secret: 0", b"a-X-Secret: 1", b"X-Secrets: 2", b"X-S: 3"]),
    ],
)
def test_fields_that_connection_names_end_here_both_ways(options, left):
    """RFC 9110 §7.6.1."""
    lines = [b"x-secret: 0", *options[:1], b"a-X-Secret: 1", b"X-Secrets: 2", *options[1:], b"X-S: 3"]
    assert passed(*lines) == left
    assert answered(*lines) == left


PROTECTED = [
    b"Content-Length: 5",
    b"Authorization: Basic x",
    b"Cookie: a",
    b"Set-Cookie: b",
    b"Via: 1.1 b",
    b"X-Forwarded-Prefix: /p",
]


@pytest.mark.parametrize("line", PROTECTED)
def test_connection_may_not_take_away_what_backends_rely_on(line):
    """Naming these is a way to strip them (CVE-2022-31813): Host and all of X-Forwarded-* as well."""
    name = line.partition(b":")[0]
    for option in (name, name.lower(), b"close, host, " + name):
        assert passed(b"Connection: " + option, line) == [line]
        assert answered(b"Connection: " + option, line) == [line]


def test_connection_may_not_take_away_a_trusted_proxys_word():
    names = [b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"X-Forwarded-Port", b"Forwarded", b"Host"]
    got = sent(b"Connection: " + b", ".join(names), *(name + b": 1" for name in names[:5]), peer=PROXY)
    assert sorted(got) == sorted(
        [
            b"X-Forwarded-For: 1, 192.0.2.7",
            b"X-Forwarded-Proto: 1",
            b"X-Forwarded-Host: 1",
            b"X-Forwarded-Port: 1",
            b"Forwarded: 1, for=192.0.2.7",
            b"Via: 1.1 sidebeat-us",
        ]
    )


def test_a_connection_field_of_thousands_of_names_is_cheap():
    """One request of 64 KiB once took a tenth of a second, and left its pattern in memory."""
    head = request(b"Connection: " + b",".join(b"x%d" % number for number in range(100_000)))
    tracemalloc.start()
    assert request_head(head, b"/", CLIENT, VIA).count(b"\r\n") == 8
    left, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert left < 1 << 18


SPOOFED = [
    b"X-Forwarded-For: 6.6.6.6",
    b"x-forwarded-for: 7.7.7.7",
    b"X-FORWARDED-PROTO: https",
    b"X-Forwarded-Host: evil",
    b"X-Forwarded-Port: 1",
    b"Forwarded: for=6.6.6.6",
    b"forwarded: for=7",
    b"X-Real-IP: 6.6.6.6",
]
DISGUISED = [b"X_Forwarded_For: 6", b"X-Forwarded_For: 6", b"x_forwarded-proto: https", b"X_FORWARDED_HOST: evil",
             b"X_Forwarded-Port: 1", b"X_Real_IP: 6", b"X-Real_IP: 6", b"x_real-ip: 6"]  # fmt: skip


@pytest.mark.parametrize("line", SPOOFED + DISGUISED)
def test_what_a_stranger_says_of_where_it_comes_from_is_overwritten(line):
    """RFC 7239 §8.1. Underscores count as hyphens, since that is how CGI and WSGI read them."""
    assert sent(b"A: b", line, b"C: d") == [b"A: b", b"C: d", *SAID_OF_CLIENT]
    assert sent(*SPOOFED, *DISGUISED) == SAID_OF_CLIENT


@pytest.mark.parametrize("line", DISGUISED)
def test_a_disguised_field_does_not_pass_a_trusted_proxy_either(line):
    assert line not in sent(line, peer=PROXY)


def test_a_trusted_proxy_is_believed_and_joins_the_chain():
    """RFC 7239 §5.2, §7.4: one line, in the order of the hops."""
    got = sent(
        b"X-Forwarded-For: 1.1.1.1, 2.2.2.2", b"x-forwarded-for: 3.3.3.3", b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: shop.example", b"X-Forwarded-Port: 443", b"X-Real-IP: 1.1.1.1",
        b"Forwarded: for=1.1.1.1;proto=https", peer=PROXY,
    )  # fmt: skip
    assert got == [
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: shop.example",
        b"X-Forwarded-Port: 443",
        b"X-Real-IP: 1.1.1.1",
        b"X-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, 192.0.2.7",
        b"Forwarded: for=1.1.1.1;proto=https, for=192.0.2.7",
        b"Via: 1.1 sidebeat-us",
    ]


def test_a_trusted_proxy_that_says_nothing_is_spoken_for():
    assert sent(peer=PROXY) == SAID_OF_CLIENT
    assert sent(b"X-Forwarded-For:", peer=PROXY)[0] == b"X-Forwarded-For: 192.0.2.7"


def test_ipv6_is_quoted_in_forwarded_and_nowhere_else():
    """RFC 7239 §6."""
    peer = Peer(address="2001:db8::1", port=1, trusted=True)
    got = sent(b"Forwarded: for=1.1.1.1", peer=peer)
    assert b'Forwarded: for=1.1.1.1, for="[2001:db8::1]"' in got
    assert b"X-Forwarded-For: 2001:db8::1" in got


def test_a_peer_on_a_unix_socket_has_no_port():
    got = sent(peer=Peer(address="", port=0, trusted=False))
    assert got[:3] == [b"X-Forwarded-For: unix", b"X-Forwarded-Proto: http", b"X-Forwarded-Host: a"]


def test_an_ipv4_client_of_a_socket_for_both_is_named_as_ipv4():
    assert sent(peer=Peer(address="::ffff:192.0.2.7", port=8000, trusted=False)) == SAID_OF_CLIENT


def test_https_is_said_to_be_https():
    peer = Peer(address="192.0.2.7", port=8443, trusted=False, scheme="https")
    assert b"X-Forwarded-Proto: https" in sent(peer=peer)


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("10.1.2.3", True),
        ("11.1.2.3", False),
        ("2001:db8::5", True),
        ("2001:db9::5", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:11.1.2.3", False),
        ("", False),
        ("unix", False),
        ("10.1.2.3:80", False),
    ],
)
def test_only_addresses_within_the_networks_are_trusted(address, trusted):
    networks = [ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")]
    assert is_trusted(address, networks) is trusted
    assert not is_trusted(address, [])


def test_host_is_kept_or_replaced_and_never_doubled():
    """RFC 9112 §3.2.2; X-Forwarded-Host keeps what the client asked for."""
    assert sent(b"X-Host: b", host=b"b:81") == [b"X-Host: b", *SAID_OF_CLIENT]
    assert request_head(request(), b"/", CLIENT, VIA, b"b").count(b"Host: b") == 1
    old = read_request(b"GET / HTTP/1.0\r\n\r\n", 99, 9)
    assert old is not None
    assert b"\r\nHost: b\r\n" in request_head(old, b"/", CLIENT, VIA, b"b")


@pytest.mark.parametrize(
    ("te", "kept"),
    [(b"trailers", True), (b"gzip, Trailers", True), (b"trailers;q=0", False), (b"xtrailers", False), (b"", False)],
)
def test_only_the_wish_for_trailers_is_passed_on(te, kept):
    """RFC 9110 §10.1.4: in our own name, so Connection names it."""
    assert passed(b"TE: " + te, b"Connection: TE") == [b"Connection: TE", b"TE: trailers"] * kept


@pytest.mark.parametrize(
    ("lines", "wish"),
    [
        ([b"Upgrade: websocket", b"Connection: Upgrade"], b"websocket"),
        ([b"upgrade: WebSocket", b"connection: keep-alive, upGrade"], b"WebSocket"),
        ([b"Upgrade: a/1, b", b"Upgrade: c", b"Connection: Upgrade"], b"a/1, b, c"),
        ([b"Upgrade: h2c, websocket", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: x"], b"websocket"),
        ([b"Upgrade: H2C", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: x"], b""),
        ([b"Upgrade: websocket"], b""),
        ([b"Upgrade: websocket", b"Connection: keep-alive"], b""),
        ([b"Connection: Upgrade"], b""),
        ([b"Upgrade:", b"Connection: Upgrade"], b""),
        ([b"Upgrade: websocket", b"Connection: Upgrade", b"Content-Length: 5"], b""),
        ([b"Upgrade: websocket", b"Connection: Upgrade", b"Transfer-Encoding: chunked"], b""),
    ],
)
def test_an_upgrade_is_passed_on_in_our_own_name(lines, wish):
    """RFC 9110 §7.8; h2c would carry requests past every rule of ours."""
    assert upgrade_of(request(*lines)) == wish
    framing = [line for line in lines if line.startswith((b"Content-Length", b"Transfer-Encoding"))]
    assert passed(*lines) == framing + [b"Connection: Upgrade", b"Upgrade: " + wish] * bool(wish)


def test_http_1_0_cannot_ask_for_an_upgrade():
    """RFC 9110 §7.8."""
    lines = (b"Upgrade: websocket", b"Connection: Upgrade")
    assert sent(*lines, version=0) == [*SAID_OF_CLIENT[:-1], b"Via: 1.0 sidebeat-us"]


def test_via_names_the_version_we_received_and_comes_last():
    """RFC 9110 §7.6.3."""
    assert passed(b"Via: 1.0 b", b"via: 1.1 c") == [b"Via: 1.0 b", b"via: 1.1 c"]
    assert response_fields(response(version=0), VIA, DATE).endswith(b"\r\nVia: 1.0 sidebeat-us")


@pytest.mark.parametrize(
    ("lines", "is_loop"),
    [
        ([], False),
        ([b"Via: 1.1 sidebeat-us"], True),
        ([b"Via: 1.0 a,1.1 sidebeat-us,1.1 b"], True),
        ([b"via: 1.1 a", b"VIA: 1.1 sidebeat-us (comment)"], True),
        ([b"Via: HTTP/1.1\tsidebeat-us"], True),
        ([b"Via: 1.1 sidebeat-us2"], False),
        ([b"Via: 1.1 my-sidebeat-us"], False),
        ([b"Via: 1.1 sidebeat"], False),
        ([b"X-Via: 1.1 sidebeat-us"], False),
    ],
)
def test_our_own_pseudonym_in_via_is_a_loop_and_anothers_is_not(lines, is_loop):
    """RFC 9110 §7.6.3."""
    assert loops(request(*lines), VIA) is is_loop


def test_date_is_added_only_where_the_origin_sent_none():
    """RFC 9110 §6.6.1."""
    assert response_fields(response(b"A: b"), VIA, DATE) == b"\r\nA: b\r\nDate: " + DATE + b"\r\nVia: 1.1 sidebeat-us"
    for line in (b"Date: yesterday", b"date:"):
        assert b"\r\nDate: Mon" not in response_fields(response(line), VIA, DATE)
    assert b"Date" not in response_fields(response(status=103), VIA, DATE)


def test_framing_is_the_origins_unless_it_has_to_change():
    """RFC 9112 §6.1, §7.1.3."""
    chunked = b"transfer-encoding: Chunked"
    assert answered(b"Content-Length: 5", b"A: b") == [b"Content-Length: 5", b"A: b"]
    assert answered(chunked, b"A: b") == [chunked, b"A: b"]
    assert answered(chunked, b"A: b", framing=b"") == [b"A: b"]
    assert answered(b"A: b", framing=b"\r\nTransfer-Encoding: chunked") == [b"A: b", b"Transfer-Encoding: chunked"]


@pytest.mark.parametrize(("status", "to_head"), [(204, False), (304, False), (103, False), (200, True)])
def test_a_response_without_a_body_keeps_its_length_and_loses_its_coding(status, to_head):
    """RFC 9110 §8.6; RFC 9112 §6.1: not in 1xx or 204, nor to an HTTP/1.0 client, and nowhere needed."""
    kept = [b"Content-Length: 5", b'ETag: "x"']
    assert answered(*kept, status=status, to_head=to_head) == kept
    assert answered(b"Transfer-Encoding: chunked", b'ETag: "x"', status=status, to_head=to_head) == kept[1:]


@pytest.mark.parametrize(
    ("method", "said", "passes_on", "is_last"),
    [
        (b"OPTIONS", b"5", b"4", False),
        (b"OPTIONS", b"1", b"0", False),
        (b"OPTIONS", b"0", b"0", True),
        (b"OPTIONS", b"00", b"00", True),
        (b"OPTIONS", b"x", b"x", False),
        (b"OPTIONS", b"-1", b"-1", False),
        (b"OPTIONS", b"9" * 5_000, b"9" * 5_000, False),
        (b"GET", b"5", b"5", False),
        (b"GET", b"0", b"0", False),
    ],
)
def test_max_forwards_counts_down_for_options_alone(method, said, passes_on, is_last):
    """RFC 9110 §7.6.2."""
    head = request(b"A: b", b"max-forwards: " + said, method=method)
    assert is_last_hop(head) is is_last
    _, _, _, line, *_ = request_head(head, b"/", CLIENT, VIA).split(b"\r\n")
    assert line.lower() == b"max-forwards: " + passes_on
    assert not is_last_hop(request(method=method))


@pytest.mark.parametrize(
    ("wishes", "allowed", "kept"),
    [
        (b"websocket", {b"websocket"}, b"websocket"),
        (b"WebSocket, chat", {b"websocket"}, b"WebSocket"),
        (b"chat/2, chat/3", {b"chat"}, b"chat/2, chat/3"),
        (b"chat/2, chat/3", {b"chat/3"}, b"chat/3"),
        (b"websockets", {b"websocket"}, b""),
        (b"websocket", set(), b""),
    ],
)
def test_an_upgrade_to_what_a_route_does_not_allow_is_not_asked_for(wishes, allowed, kept):
    head = request(b"Connection: Upgrade", b"Upgrade: " + wishes)
    keep_upgrades(head, allowed)
    assert upgrade_of(head) == kept
    told = request_head(head, b"/", CLIENT, VIA)
    assert (b"Upgrade" in told) == bool(kept)
    assert (b"\r\nUpgrade: " + kept + b"\r\n" in told) == bool(kept)


@pytest.mark.parametrize(
    ("lines", "is_one"),
    [
        ([b"Content-Type: text/event-stream"], True),
        ([b"content-type:TEXT/Event-Stream; charset=utf-8"], True),
        ([b"Content-Type: text/event-stream", b"Content-Encoding: identity"], True),
        ([b"Content-Type: text/event-stream", b"Content-Encoding: gzip"], False),
        ([b"Content-Encoding: identity, br", b"Content-Type: text/event-stream"], False),
        ([b"Content-Type: text/html"], False),
        ([b"X-Content-Type: text/event-stream"], False),
    ],
)
def test_an_event_stream_can_be_read_where_nothing_has_encoded_it(lines, is_one):
    assert is_event_stream(response(*lines)) is is_one


letters = st.text("abcdefgXYZ-_.!09", min_size=1, max_size=10).map(lambda name: b"q" + name.encode())
contents = st.binary(max_size=12).map(lambda value: bytes(byte for byte in value if byte >= 32 and byte != 127))
free_lines = st.tuples(letters, st.sampled_from([b":", b": ", b":\t"]), contents).map(b"".join)
steered = st.sampled_from([*HOP_BY_HOP, *SPOOFED, *DISGUISED, b"TE: gzip"]).filter(
    lambda line: b"CONNECTION" not in line
)


@given(st.lists(free_lines | steered, max_size=12))
def test_every_field_that_no_rule_names_passes_byte_for_byte_and_in_order(lines):
    """RFC 9110 §5.3, §7.6.1: whatever stands around it, and nothing else passes."""
    free = [line for line in lines if line.startswith(b"q")]
    assert passed(*lines) == free
    assert [line for line in answered(*lines) if line not in SPOOFED + DISGUISED] == free


@given(st.lists(free_lines, max_size=8), st.data())
def test_exactly_the_fields_that_connection_names_are_taken_off(lines, data):
    """RFC 9110 §7.6.1."""
    names = [line.partition(b":")[0] for line in lines]
    named = data.draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    options = b"Connection: " + b" , ".join(name.upper() for name in named)
    at = data.draw(st.integers(0, len(lines)))
    gone = {name.lower() for name in named}
    left = [line for line, name in zip(lines, names, strict=True) if name.lower() not in gone]
    assert passed(*lines[:at], options, *lines[at:]) == left
    assert answered(*lines[:at], options, *lines[at:]) == left
