"""A program whose import alone was changed does what it did, under the servers that people run, minus the bugs.

Each bug is shown to be in the real package, and not in ours: a test of a bug that nobody has would prove nothing.
"""

import gzip
from collections.abc import Awaitable, Callable

import pytest

from backend import Backend
from effects import CASES, differences, effect
from raw_client import fetch
from seeds import Pair
from talker import BINARY, TEXTS, Conversation, Talker, conversation
from wire import is_chunked

HOST = ("Host", "site.example")
EXACT = "//a/%2e%2e/%7Eb?x=1&x=2"

HasBug = Callable[[int, Backend], Awaitable[bool]]


async def test_every_request_has_the_same_effect(pair: Pair, backend: Backend, other: Backend):
    found = {}
    for name, case in CASES.items():
        if pair.version in case.versions:
            for _ in range(case.times):
                real, ours = [await effect(each.port, case, [backend, other]) for each in (pair.real, pair.ours)]
                if differs := differences(real, ours):
                    found[name] = differs
    assert not found


@pytest.mark.parametrize("end", ["backend", "client"])
async def test_every_conversation_is_the_same(pair: Pair, talker: Talker, end: str):
    for offer in (["echo"], ["unheard-of", "echo"]):
        seen = []
        for each in (pair.real, pair.ours):
            url = f"ws://127.0.0.1:{each.port}/talk/room?a=1&b="
            told = await conversation(url, offer=offer, sayings=TEXTS, end=end)
            seen.append((told.subprotocol, told.echoes, talker.path, talker.asked.get("X-More")))
        assert seen[0] == seen[1]
        assert seen[1][:2] == ("echo", TEXTS)
        assert seen[1][3] == ("that" if pair.version == "0.4.0" else None)


async def test_bytes_are_talked_under_every_server(pair: Pair):
    """The real one takes a field that is there for one that has something in it: under hypercorn it sends None."""
    urls = [f"ws://127.0.0.1:{each.port}/talk/room" for each in (pair.real, pair.ours)]
    real, ours = [await conversation(url, sayings=BINARY) for url in urls]
    assert ours.echoes == BINARY
    assert (real.echoes == BINARY) == (pair.server != "hypercorn")


async def cookies_of_another_user(port: int, backend: Backend) -> bool:
    await fetch(port, "/cookies", headers=[HOST, ("Cookie", "user=alice")])
    await fetch(port, "/small", headers=[HOST])
    return backend.requests[-1].header("cookie") is not None


async def merged_cookies(port: int, backend: Backend) -> bool:
    return len((await fetch(port, "/cookies")).all("set-cookie")) != 2


async def fields_of_the_last_hop(port: int, backend: Backend) -> bool:
    await fetch(port, "/small", headers=[HOST, ("Connection", "X-Private"), ("X-Private", "of this hop")])
    return backend.requests[-1].header("x-private") is not None


async def fields_of_the_next_hop(port: int, backend: Backend) -> bool:
    return (await fetch(port, "/private")).header("x-private") is not None


async def fields_once_that_came_twice(port: int, backend: Backend) -> bool:
    await fetch(port, "/small", headers=[HOST, ("X-Twice", "1"), ("X-Twice", "2")])
    return backend.requests[-1].all("x-twice") != [b"1", b"2"]


async def another_path(port: int, backend: Backend) -> bool:
    await fetch(port, EXACT)
    return backend.requests[-1].target != EXACT.encode()


async def no_length_of_an_answer(port: int, backend: Backend) -> bool:
    return (await fetch(port, "/small", method="HEAD")).header("content-length") != b"5"


async def no_length_of_an_upload(port: int, backend: Backend) -> bool:
    await fetch(port, "/echo", method="POST", body=b"hello")
    return is_chunked(backend.requests[-1].headers)


async def another_body(port: int, backend: Backend) -> bool:
    response = await fetch(port, "/gzip", headers=[HOST, ("Accept-Encoding", "gzip")])
    return response.header("content-encoding") != b"gzip" or gzip.decompress(response.body) != b"hello" * 1000


async def something_about_caches(port: int, backend: Backend) -> bool:
    return (await fetch(port, "/small")).header("cache-control") is not None


async def something_about_their_own_client(port: int, backend: Backend) -> bool:
    await fetch(port, "/small", headers=[HOST])
    return (backend.requests[-1].header("user-agent") or b"").startswith(b"python-httpx/")


async def nothing_of_a_backend_that_is_not_there(port: int, backend: Backend) -> bool:
    return (await fetch(port, "/own/nobody")).status == 500


async def nothing_of_a_backend_that_breaks_off(port: int, backend: Backend) -> bool:
    return (await fetch(port, "/reset")).status == 500


async def nobody_healthy_where_get_is_answered(port: int, backend: Backend) -> bool:
    return b'"healthy":[]' in (await fetch(port, "/own/no-head")).body


BOTH = ("0.2.0", "0.4.0")
BUGS: dict[HasBug, tuple[str, ...]] = {
    cookies_of_another_user: BOTH,
    merged_cookies: BOTH,
    fields_of_the_last_hop: BOTH,
    fields_of_the_next_hop: BOTH,
    fields_once_that_came_twice: BOTH,
    another_path: BOTH,
    no_length_of_an_answer: BOTH,
    no_length_of_an_upload: ("0.4.0",),
    another_body: ("0.2.0",),
    something_about_caches: ("0.2.0",),
    something_about_their_own_client: BOTH,
    nothing_of_a_backend_that_is_not_there: ("0.2.0",),
    nothing_of_a_backend_that_breaks_off: BOTH,
    nobody_healthy_where_get_is_answered: BOTH,
}
"""What the real package gives its users where they asked for something else, and which versions do."""


async def test_every_bug_is_gone(pair: Pair, backend: Backend):
    known = [has_bug for has_bug, versions in BUGS.items() if pair.version in versions]
    still = {each.__name__ for each in known if await each(pair.ours.port, backend)}
    assert not still
    gone = {each.__name__ for each in known if not await each(pair.real.port, backend)}
    assert not gone, "the real one has not got this bug: it is none of what we fixed"


async def test_a_websocket_ends_as_the_other_side_ended_it(pair: Pair, talker: Talker):
    """The real one says 1000 to a client whatever the backend said, and to the backend whatever the client said."""
    url = "ws://127.0.0.1:{}/talk/{}"
    real, ours = [await conversation(url.format(each.port, "end"), end="backend") for each in (pair.real, pair.ours)]
    assert ours.ended == (4000, "so long") != real.ended
    heard = {}
    for name, each in (("real", pair.real), ("ours", pair.ours)):
        await conversation(url.format(each.port, name))
        heard[name] = await talker.end()
    unheard = {"hypercorn": (1011, "")}  # which does not tell a program more than that a client has gone
    assert heard["ours"] == unheard.get(pair.server, (4001, "enough")) != heard["real"]


async def test_a_refused_websocket_is_refused_with_the_backends_status(pair: Pair, talker: Talker):
    real, ours = [await conversation(f"ws://127.0.0.1:{each.port}/talk/no/401") for each in (pair.real, pair.ours)]
    assert ours == Conversation(refused=401) != real


async def test_a_conversation_with_nobody_can_be_caught(pair: Pair):
    if pair.version == "0.2.0":
        pytest.skip("its program does not catch any")
    urls = [f"ws://127.0.0.1:{each.port}/nobody/talk" for each in (pair.real, pair.ours)]
    real, ours = [await conversation(url) for url in urls]
    assert ours == real == Conversation(ended=(4000, "1011"))
