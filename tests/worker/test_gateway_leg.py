"""The backend's leg of a WebSocket, held against the server side of the websockets library."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.datastructures import Headers
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from worker.failure import Failure, Refused
from worker.gateway.leg import Leg
from worker.http1 import ResponseHead, read_response

MESSAGES = st.lists(st.text(max_size=200) | st.binary(max_size=70_000), max_size=6)
MAX_BYTES = 100_000


def handshake(leg: Leg, server: ServerProtocol) -> ResponseHead:
    """The server's answer to what the leg asks."""
    fields = [("host", "a"), *[(name.decode(), value.decode()) for name, value in leg.request_fields]]
    server.receive_data(Request("/", Headers(fields)).serialize())
    [request] = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    head = read_response(b"".join(server.data_to_send()), 65_536, to_head=False)
    assert head is not None
    return head


def connected() -> tuple[Leg, ServerProtocol]:
    leg, server = Leg((), MAX_BYTES), ServerProtocol(max_size=None)
    assert leg.open(handshake(leg, server)) is None
    return leg, server


def sent(server: ServerProtocol) -> bytes:
    return b"".join(server.data_to_send())


@given(messages=MESSAGES, cuts=st.lists(st.integers(0, 200_000)), parts=st.integers(1, 3))
def test_however_bytes_come_messages_are_what_the_backend_sent(messages: list[str | bytes], cuts, parts: int):
    leg, server = connected()
    for message in messages:
        data = message.encode() if isinstance(message, str) else message
        begin = server.send_text if isinstance(message, str) else server.send_binary
        size = len(data) // parts
        begin(data[:size], fin=False)
        server.send_continuation(data[size:], fin=True)
    stream = sent(server)
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    got: list[str | bytes] = []
    for begin_at, end_at in pairwise(edges):
        got += leg.feed(stream[begin_at:end_at])
    assert got == messages
    assert leg.goodbye is None


@given(messages=MESSAGES)
def test_what_a_client_says_arrives_at_the_backend(messages: list[str | bytes]):
    leg, server = connected()
    for message in messages:
        assert leg.send(message)
    for data in leg.to_send():
        server.receive_data(data)
    frames = [frame for frame in server.events_received() if isinstance(frame, Frame)]
    assert [bytes(frame.data).decode() if frame.opcode is Opcode.TEXT else bytes(frame.data) for frame in frames] == (
        messages
    )


@pytest.mark.parametrize(
    ("code", "reason", "heard"),
    [
        (1000, "bye", Close(1000, "bye")),
        (4999, "\u2603" * 42, Close(4999, "\u2603" * 41)),
        (1005, "", Close(1005, "")),
        (1006, "", Close(1011, "")),
        (1015, "", Close(1011, "")),
        (2000, "?", Close(1011, "")),
    ],
)
def test_a_goodbye_says_only_what_a_frame_may_say_rfc6455_7_4(code: int, reason: str, heard: Close):
    leg, server = connected()
    leg.close(code, reason)
    leg.close(1001, "once is enough")
    server.receive_data(b"".join(leg.to_send()))
    assert server.close_rcvd == heard
    assert leg.send("too late")
    assert not leg.to_send()


def test_how_a_backend_ends_it_is_known_from_its_frame_or_its_silence():
    leg, server = connected()
    server.send_close(4001, "enough")
    leg.feed(sent(server))
    assert leg.goodbye == Close(4001, "enough")
    leg, server = connected()
    leg.end()
    assert leg.goodbye == Close(1014, "the backend is lost")


def test_a_subprotocol_is_chosen_from_those_that_were_offered():
    leg, server = Leg(("a", "b"), MAX_BYTES), ServerProtocol(subprotocols=["b"])  # type: ignore[list-item]  # a NewType
    assert leg.open(handshake(leg, server)) == "b"
    leg = Leg((), MAX_BYTES)
    head = handshake(leg, ServerProtocol())
    with pytest.raises(Refused) as refused:
        leg.open(head.with_lines(b"\r\nSec-WebSocket-Protocol: c"))
    assert refused.value.failure is Failure.BAD_RESPONSE
