"""Probes by an event stream."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend import Backend, Connection, Handler, Request, answers, answers_chunked, stalls
from probing import probe
from sidecar.contract.model import Health
from sidecar.probe.sse import FirstEvent

TYPE = ("content-type", "text/event-stream; charset=utf-8")


def streams(*parts: bytes) -> Handler:
    """These parts of an event stream, which does not end."""

    async def handle(_request: Request, connection: Connection) -> None:
        await connection.start_chunked(200, [TYPE])
        for part in parts:
            await connection.chunk(part)
        await connection.stall()

    return handle


async def test_a_first_event_is_enough(backend: Backend, tmp_path: Path):
    backend.handler = streams(b": hello\n\n", b"event: tick\nda", b"ta: 1\n\n")
    result = await probe(backend.url, type="sse", path="/events")
    assert (result.passed, result.reason, result.status) == (True, "HTTP 200, an event came", 200)
    assert backend.requests[0].target == b"/events"
    assert backend.requests[0].header("accept") == b"text/event-stream"
    async with Backend(streams(b"data\n\n"), path=tmp_path / "app.sock") as local:
        assert (await probe(local.url, type="sse")).passed


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (answers(204, [TYPE]), "HTTP 204, not 200"),
        (
            answers(200, [("content-type", "text/html")]),
            "HTTP 200, but of the type 'text/html', not text/event-stream",
        ),
        (answers_chunked(b"data: 1\n", headers=[TYPE]), "HTTP 200, but the stream ended before its first event"),
        (answers_chunked(b": x\n" * 20_000, headers=[TYPE]), "HTTP 200, but no event within 65536 bytes"),
    ],
    ids=["status", "type", "end", "flood"],
)
async def test_a_stream_without_an_event_fails_and_says_what_came(backend: Backend, handler: Handler, reason: str):
    backend.handler = handler
    result = await probe(backend.url, type="sse")
    assert (result.passed, result.reason, result.answered) == (False, reason, True)


async def test_a_stream_without_an_event_is_waited_for_until_the_deadline(backend: Backend):
    backend.handler = streams(b": ping\n\n")
    result = await probe(backend.url, type="sse", timeout_s=0.5)
    assert (result.passed, result.answered) == (False, True)
    assert result.reason == "HTTP 200, but no event came within 0.5 s"


async def test_a_stream_that_never_begins_is_not_answered(backend: Backend):
    backend.handler = stalls()
    result = await probe(backend.url, type="sse", timeout_s=0.5)
    assert (result.reason, result.failed_in_transport) == ("no answer within 0.5 s", True)


async def test_a_stream_may_say_how_its_backend_is(backend: Backend):
    backend.handler = answers_chunked(b"data: 1\n\n", headers=[TYPE, ("x-health-state", "draining")])
    assert (await probe(backend.url, type="sse")).advertised is Health.DRAINING


@pytest.mark.parametrize(
    ("text", "has_event"),
    [
        (b"data: 1\n\n", True),
        (b"data\r\n\r\n", True),
        (b"data:\r\r", True),
        (b"\xef\xbb\xbfdata: 1\n\n", True),
        (b"id: 1\ndata: 1\nevent: x\n\n", True),
        (b"data: 1\n", False),
        (b"data: 1\r\n", False),
        (b": ping\n\n\n\n", False),
        (b"event: x\n\n", False),
        (b"database: x\n\n", False),
        (b" data: x\n\n", False),
    ],
)
@given(data=st.data())
def test_an_event_is_seen_however_its_bytes_are_cut(text: bytes, has_event: bool, data: st.DataObject):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    event = FirstEvent()
    parts = [text[low:high] for low, high in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert any(map(event.feed, parts)) is has_event
