from typing import Any

import pytest

from sidecar.contract.model import Verdict, parse_address


@pytest.mark.parametrize(
    ("url", "authority", "name", "local"),
    [
        ("http://h", "h", "h:80", False),
        ("http://h:8080/", "h:8080", "h:8080", False),
        ("https://h", "h", "h:443", False),
        ("https://h:80", "h:80", "h:80", False),
        ("http://127.0.0.1:8081", "127.0.0.1:8081", "127.0.0.1:8081", True),
        ("http://127.9.9.9:80", "127.9.9.9", "127.9.9.9:80", True),
        ("http://[::1]:81", "[::1]:81", "::1:81", True),
        ("http://localhost:81", "localhost:81", "localhost:81", True),
        ("http://api.localhost", "api.localhost", "api.localhost:80", True),
        ("http://notlocalhost", "notlocalhost", "notlocalhost:80", False),
        ("unix:/run/app.sock", "localhost", "/run/app.sock", True),
        ("unix:///run/app.sock", "localhost", "/run/app.sock", True),
    ],
)
def test_a_url_says_where_a_backend_is(url, authority, name, local):
    address = parse_address(url)
    assert (address.authority, address.name, address.is_local) == (authority, name, local)


@pytest.mark.parametrize(
    "url",
    ["", "h", "h:80", "127.0.0.1:8081", "ftp://h", "http://", "http://:80", "http://h:0", "http://h:99999", "http://h:x",
     "http://u:p@h", "http://h/path", "http://h?q", "http://h#f", "unix:app.sock", "unix:"],
)  # fmt: skip
def test_what_is_no_backend_is_refused_in_words(url):
    with pytest.raises(ValueError, match=r"."):
        parse_address(url)


@pytest.mark.parametrize("field", ["weight", "since_ms", "ejected_ms", "ramp_ms"])
def test_a_verdict_has_no_negative_numbers(field):
    fields: dict[str, Any] = {"id": "a", "url": "u", field: -1}
    with pytest.raises(ValueError, match="negative"):
        Verdict(**fields)
