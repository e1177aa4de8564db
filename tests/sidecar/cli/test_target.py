"""What `POOL/BACKEND` means."""

import pytest

from sidecar.cli.target import resolve, resolve_pool
from sidecar.cli.trouble import FAILED, WRONG_USE, TroubleError

KNOWN = {
    "api@web-1": {"a:1", "/run/a.sock"},
    "web@web-1": {"a"},
    "web@web-2": {"a"},
    "fleet": {"a"},
    "empty": set(),
}


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("api/a:1", ("api@web-1", "a:1")),
        ("api@web-1/a:1", ("api@web-1", "a:1")),
        ("api//run/a.sock", ("api@web-1", "/run/a.sock")),
        ("web@web-2/a", ("web@web-2", "a")),
        ("fleet/a", ("fleet", "a")),
    ],
)
def test_a_backend_is_found_by_what_a_person_writes(text: str, meant: tuple[str, str]):
    assert resolve(text, KNOWN) == meant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("api", "'api' is not POOL/BACKEND, like api/alpha"),
        ("api/", "'api/' is not POOL/BACKEND, like api/alpha"),
        ("/a", "'/a' is not POOL/BACKEND, like api/alpha"),
        ("", "'' is not POOL/BACKEND, like api/alpha"),
        ("nope/a", "there is no pool 'nope', only api@web-1, empty, fleet, web@web-1, web@web-2"),
        ("fleet@web-1/a", "there is no pool 'fleet@web-1', only api@web-1, empty, fleet, web@web-1, web@web-2"),
        ("web/a", "there are several pools 'web': web@web-1, web@web-2; say which"),
        ("fleet/b", "the pool fleet has no backend 'b', only a"),
    ],
)
def test_what_means_nothing_is_said_with_what_there_is(text: str, said: str):
    with pytest.raises(TroubleError) as caught:
        resolve(text, KNOWN)
    assert (caught.value.status, caught.value.lines) == (WRONG_USE, (said,))


def test_where_nothing_is_published_nobody_used_it_wrongly():
    with pytest.raises(TroubleError, match="nothing is known of the backends of empty") as caught:
        resolve("empty/b", KNOWN)
    assert caught.value.status == FAILED
    with pytest.raises(TroubleError, match="no pool is known") as caught:
        resolve("api/b", {})
    assert caught.value.status == FAILED


def test_a_pool_is_found_without_its_host():
    assert resolve_pool("api", KNOWN) == "api@web-1"
