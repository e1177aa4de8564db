"""Where calls go: what a host names, and which bytes the backend reads as the target."""

from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.library.target import path_of, request_target, target_of


@pytest.mark.parametrize(
    ("host", "url", "base"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", b""),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080", b""),
        ("http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080", b"/v1"),
        ("127.0.0.1:8080/v1", "http://127.0.0.1:8080", b"/v1"),
        ("localhost:8080", "http://localhost:8080", b""),
        ("HTTPS://Example.ORG", "https://example.org", b""),
        ("ws://127.0.0.1:8080/chat", "http://127.0.0.1:8080", b"/chat"),
        ("wss://example.org", "https://example.org", b""),
        ("http://[::1]:8080/a b", "http://[::1]:8080", b"/a%20b"),
        ("http://name:word@a:1/v1", "http://a:1", b"/v1"),
        ("unix:/run/app.sock", "unix:/run/app.sock", b""),
    ],
)
def test_a_host_names_a_backend_and_the_path_before_all_paths(host: str, url: str, base: bytes):
    target = target_of(host)
    assert (target.url, target.base) == (url, base)
    assert target.origin == target_of(url)


@pytest.mark.parametrize("host", ["", "http://", "ftp://a", "http://a:99999", "http://a b", "http://user@"])
def test_what_names_no_backend_is_refused_with_the_reason(host: str):
    with pytest.raises(ValueError, match=r".+"):
        target_of(host)


@pytest.mark.parametrize(
    ("path", "query", "forwards", "target"),
    [
        (None, b"x=1&x=2", True, b"//a/%2e%2e/%7Eb?x=1&x=2"),
        (None, b"x=1", False, b"//a/%2e%2e/%7Eb"),
        ("/other", b"", True, b"/other"),
        ("/other", b"x=1", True, b"/other?x=1"),
        ("/other?y=2", b"x=1", True, b"/other?y=2&x=1"),
        ("/other?y=2", b"x=1", False, b"/other?y=2"),
        ("other", b"", True, b"/other"),
        ("", b"", True, b"/"),
        ("/a b/ü", b"", True, b"/a%20b/%C3%BC"),
        ("/100%", b"", True, b"/100%25"),
        ("/a%2Fb", b"", True, b"/a%2Fb"),
        ("/a#b", b"", True, b"/a%23b"),
        ("/a\r\nb", b"", True, b"/a%0D%0Ab"),
    ],
)
def test_the_target_is_the_requests_own_bytes_or_what_the_caller_says(
    path: str | None, query: bytes, forwards: bool, target: bytes
):
    scope = {"path": "//a/../~b", "raw_path": b"//a/%2e%2e/%7Eb", "query_string": query}
    assert request_target(scope, b"", path, forward_query=forwards) == target
    assert request_target(scope, b"/v1", path, forward_query=forwards) == b"/v1" + target


@given(st.text(st.characters(codec="utf-8", exclude_characters="?"), max_size=30))
def test_a_path_is_forwarded_as_it_was_written_and_anew_where_the_app_has_changed_it(text: str):
    written = quote("/" + text, safe="/~!").encode()
    decoded = unquote_to_bytes(written).decode()
    assert path_of({"path": decoded, "raw_path": written}) == written
    assert unquote_to_bytes(path_of({"path": decoded, "raw_path": b"/rewritten-by-a-middleware"})).decode() in (
        decoded,
        "/rewritten-by-a-middleware",
    )
    assert unquote_to_bytes(path_of({"path": decoded})).decode() == decoded
