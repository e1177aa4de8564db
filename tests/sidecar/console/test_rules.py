"""Who may come in, by what a request says of itself."""

import pytest

from sidecar.console.rules import is_direct, name_of, refusal

NAMES = frozenset({"web-1", "console.example"})
JSON = {"content-type": ["application/json"]}


@pytest.mark.parametrize(
    ("method", "path", "fields", "status"),
    [
        ("GET", "/api/status", {}, None),
        ("GET", "/api/status", {"host": ["127.0.0.1:9900"]}, None),
        ("GET", "/api/status", {"host": ["[::1]:9900"]}, None),
        ("GET", "/api/status", {"host": ["10.1.2.3"]}, None),
        ("GET", "/api/status", {"host": ["Console.Example.:443"]}, None),
        ("GET", "/api/status", {"host": ["evil.example"]}, 403),
        ("GET", "/", {"host": ["evil.example"]}, 403),
        ("GET", "/api/status", {"host": ["localhost.evil.example"]}, 403),
        ("GET", "/api/status", {"host": []}, 400),
        ("GET", "/api/status", {"host": ["localhost", "evil.example"]}, 400),
        ("GET", "/api/stream", {"origin": ["http://evil.example"]}, 403),
        ("GET", "/api/stream", {"origin": ["null"]}, 403),
        ("GET", "/api/stream", {"origin": ["http://localhost:9900"]}, None),
        ("GET", "/api/stream", {"origin": ["http://localhost:9901"]}, 403),
        ("GET", "/api/status", {"sec-fetch-site": ["cross-site"]}, 403),
        ("GET", "/api/status", {"sec-fetch-site": ["same-site"]}, 403),
        ("GET", "/api/status", {"sec-fetch-site": ["same-origin"]}, None),
        ("GET", "/", {"sec-fetch-site": ["cross-site"]}, None),
        ("POST", "/api/login", JSON, None),
        ("POST", "/api/login", JSON | {"origin": ["https://localhost:9900"]}, None),
        ("POST", "/api/login", JSON | {"origin": ["http://evil.example"]}, 403),
        ("POST", "/api/login", {"content-type": ["application/json; charset=utf-8"]}, None),
        ("POST", "/api/login", {"content-type": ["text/plain"]}, 415),
        ("POST", "/api/login", {"content-type": ["application/json", "text/plain"]}, 415),
        ("POST", "/api/login", {}, 415),
        ("PUT", "/api/login", JSON, 405),
        ("OPTIONS", "/api/login", {}, 405),
    ],
)
def test_a_request_is_refused_for_what_it_says_of_itself(method, path, fields, status):
    refused = refusal(method, path, {"host": ["localhost:9900"], **fields}, NAMES)
    assert (None if refused is None else refused.status) == status


@pytest.mark.parametrize(
    ("host", "name"),
    [("localhost:9900", "localhost"), ("[::1]", "::1"), ("[::1]:80", "::1"), ("::1", "::1"), ("A.b.", "a.b"),
     ("", ""), ("host:", "host:")],
)  # fmt: skip
def test_a_host_has_a_name(host, name):
    assert name_of(host) == name


@pytest.mark.parametrize(
    ("fields", "direct"),
    [
        ({"host": ["localhost:9900"]}, True),
        ({"host": ["127.0.0.53"]}, True),
        ({"host": ["[::1]:1"]}, True),
        ({"host": ["web-1"]}, False),
        ({"host": ["10.0.0.1"]}, False),
        ({"host": ["localhost"], "x-forwarded-for": ["10.0.0.1"]}, False),
        ({"host": ["localhost"], "via": ["1.1 a"]}, False),
        ({}, False),
    ],
)
def test_only_what_comes_straight_from_this_machine_is_direct(fields, direct):
    assert is_direct(fields) == direct
