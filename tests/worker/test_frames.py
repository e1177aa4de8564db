"""Following the frames of a WebSocket, held against what websockets writes and what it reads (RFC 6455 §5, §7.4)."""

from dataclasses import dataclass
from itertools import accumulate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.exceptions import ProtocolError
from websockets.frames import CLOSE, CONT, PING, PONG, TEXT, Close, Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from worker.frames import FrameTracker, close_frame, may_send

KIB = 1 << 10
MASK = b"\x01\x02\x03\xfe"
GOODBYE = close_frame(1001, mask=None)


def after(*pieces: bytes | memoryview) -> FrameTracker:
    tracker = FrameTracker()
    for piece in pieces:
        tracker.feed(piece)
    return tracker


def seen(tracker: FrameTracker) -> tuple[object, ...]:
    """All that a tracker tells."""
    return (
        tracker.at_boundary, tracker.in_message, tracker.messages, tracker.last_control, tracker.closed,
        tracker.close_code if tracker.closed else None, tracker.may_insert, tracker.broken,
    )  # fmt: skip


def cut(data: bytes, places: list[int]) -> list[bytes]:
    cuts = sorted(place % (len(data) + 1) for place in places)
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def reader(side: Side) -> Protocol:
    """The reading half of websockets, which no handshake is needed for."""
    return Protocol(side, state=OPEN, max_size=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """One frame on the wire, and what is to be known once it has passed."""

    wire: bytes
    in_message: bool
    messages: int
    last_control: int | None
    close_code: int | None


payloads = st.binary(max_size=10) | st.sampled_from([125, 126, 127, 300, 65_535, 65_536]).map(bytes)
controls = st.builds(Frame, st.sampled_from([PING, PONG]), st.binary(max_size=125))
codes = st.sampled_from([1000, 1001, 1012, 1014, 3000, 4999])
goodbyes = st.just(Frame(CLOSE, b"")) | st.builds(
    lambda code, reason: Frame(CLOSE, Close(code, reason).serialize()), codes, st.text(max_size=30)
)


@st.composite
def conversations(draw):
    """What one side says, frame by frame, as websockets writes it; the reserved bits are those of some extension."""
    frames: list[Frame] = []
    for pieces in draw(st.lists(st.lists(payloads, min_size=1, max_size=3), max_size=5)):
        for at, payload in enumerate(pieces):
            frames += draw(st.lists(controls, max_size=1))
            frames.append(Frame(CONT if at else draw(st.sampled_from([TEXT, Opcode.BINARY])), payload))
            frames[-1].fin = at == len(pieces) - 1
    frames += draw(st.lists(goodbyes, max_size=1))
    mask = draw(st.booleans())
    return [written(frames[: at + 1], mask=mask, reserved=draw(st.integers(0, 7))) for at in range(len(frames))]


def written(frames: list[Frame], *, mask: bool, reserved: int) -> Passed:
    """The last of these frames."""
    frame = frames[-1]
    wire = frame.serialize(mask=mask)
    data = [each for each in frames if each.opcode in {CONT, TEXT, Opcode.BINARY}]
    control = [each.opcode for each in frames if each not in data]
    return Passed(
        wire=bytes([wire[0] | reserved << 4]) + wire[1:],
        in_message=bool(data) and not data[-1].fin,
        messages=sum(each.fin for each in data),
        last_control=int(control[-1]) if control else None,
        close_code=Close.parse(frame.data).code if frame.opcode is CLOSE and frame.data else None,
    )


@given(conversations(), st.lists(st.integers(0, 1 << 20), max_size=8), st.booleans())
def test_whatever_is_said_is_followed_in_any_pieces(conversation, places, is_view):
    """At each place the stream is cut: whether a frame ends there, and what has passed before."""
    wire = b"".join(each.wire for each in conversation)
    ends = {0: Passed(wire=b"", in_message=False, messages=0, last_control=None, close_code=None)}
    at = 0
    for each in conversation:
        at += len(each.wire)
        ends[at] = each
    tracker = FrameTracker()
    at = 0
    for piece in cut(wire, places):
        tracker.feed(memoryview(piece) if is_view else piece)
        at += len(piece)
        passed = ends[max(end for end in ends if end <= at)]
        assert not tracker.broken
        assert tracker.at_boundary == (at in ends)
        assert tracker.messages == passed.messages
        assert tracker.closed == (at in ends and tracker.last_control == CLOSE)
        assert tracker.may_insert == (at in ends and not tracker.closed)
        if at in ends:
            assert (tracker.in_message, tracker.last_control) == (passed.in_message, passed.last_control)
            assert tracker.close_code == passed.close_code


WHOLE = [
    b"\x81\x00", b"\x82\x03abc", b"\xc1\x01a", b"\x01\x01a", b"\x00\x01b", b"\x80\x01c", b"\x41\x00", b"\x89\x00",
    b"\x8a\x02hi", b"\x88\x00", b"\x88\x02\x03\xf4", b"\x82\x7e\x00\x7e" + bytes(126), b"\x01\x7e\x01\x00" + bytes(256),
    b"\x82\x7e\x00\x01a", b"\x82\x7f" + (5).to_bytes(8, "big") + b"hello", b"\x80\x7f" + bytes(8),
]  # fmt: skip
BROKEN = [
    b"\x83\x00", b"\x84\x00", b"\x87\x00", b"\x8b\x00", b"\x8f\x00", b"\x03\x00", b"\x09\x00", b"\x08\x00", b"\x0a\x00",
    b"\x89\x7e\x00\x7e" + bytes(126),
]  # fmt: skip
STRICTER = [b"\x88\x7e\x00\x02\x03\xe8", b"\x8a\x7f" + bytes(8)]
"""A short length in a long form: §5.2 forbids it to all frames, and no control frame needs one."""


@given(st.lists(st.sampled_from(WHOLE + BROKEN), max_size=6), st.lists(st.integers(0, 1 << 20), max_size=6))
@example([b"\x00\x01b"], [])
@example([b"\x01\x01a", b"\x81\x00"], [1])
def test_what_is_broken_to_us_is_broken_to_websockets(parts, places):
    """Only what it cannot read either is given up; of reserved bits, which it minds and we do not, it sees none."""
    wire = b"".join(parts)
    theirs = reader(Side.CLIENT)
    theirs.receive_data(b"".join(bytes([each[0] & 0x8F]) + each[1:] for each in parts))
    frames = [each for each in theirs.events_received() if isinstance(each, Frame)]
    ours = after(*cut(wire, places))
    assert seen(ours) == seen(after(wire))
    # A goodbye may come between two fragments (§5.4); websockets is alone in minding it.
    is_early_goodbye = str(theirs.parser_exc) == "incomplete fragmented message"
    assert ours.broken == (isinstance(theirs.parser_exc, ProtocolError) and not is_early_goodbye)
    if not ours.broken:
        assert ours.messages == sum(each.fin for each in frames if each.opcode not in {CLOSE, PING, PONG})
        assert ours.closed == (theirs.close_rcvd is not None)
        assert ours.at_boundary


@pytest.mark.parametrize(
    ("before", "messages"), [(b"", 0), (b"\x81\x05hello", 1), (b"\x01\x00\x89\x00\x80\x00\x02\x00\x80\x01a", 2)]
)
@pytest.mark.parametrize(
    "data",
    [
        *BROKEN, *STRICTER, b"HTTP/1.1 400 \r\n\r\n", b"\x00\x00", b"\x80\x00", b"\x82\x7f\x80" + bytes(7),
        b"\x82\xff\xff" + bytes(11), b"\x01\x00\x01\x00",
    ],
)  # fmt: skip
def test_nothing_may_be_put_into_what_is_no_websocket(before, messages, data):
    """However it came, and whatever follows: nobody knows where a frame begins."""
    for pieces in [(before + data,), (before, data), tuple(bytes([byte]) for byte in before + data)]:
        tracker = after(*pieces)
        for rest in (b"", b"\x81\x00", GOODBYE, bytes(KIB)):
            tracker.feed(rest)
            assert tracker.broken
            assert (tracker.at_boundary, tracker.may_insert, tracker.closed) == (False, False, False)
        assert tracker.messages == messages


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x88\x00", None),
        (b"\x88\x01\x03", None),
        (b"\x88\x02\x03\xf4", 1012),
        (b"\x88\x05\x03\xf4bye", 1012),
        (b"\x88\x02\x03\xed", 1005),
        (b"\x88\x82\x01\x02\x03\xfe\x02\xf6", 1012),
        (b"\x88\x80\x01\x02\x03\xfe", None),
        (b"\x88\x81\x01\x02\x03\xfe\x02", None),
        (b"\x88\x7d\x03\xe8" + b"a" * 123, 1000),
    ],
)
def test_a_close_frame_ends_what_there_is_to_follow(data, code):
    """RFC 6455 §5.5.1: nothing follows it. It says what it says, and it has to be there to its last byte."""
    for at in range(len(data)):
        tracker = after(b"\x01\x00" + data[:at])
        assert (tracker.closed, tracker.may_insert) == (False, at == 0)
        for rest in (data[at:], b"", b"\x80\x00\x81\x00", b"\xff\xff"):
            tracker.feed(rest)
            assert (tracker.closed, tracker.close_code, tracker.may_insert) == (True, code, False)
        assert (tracker.messages, tracker.last_control, tracker.broken) == (0, 8, False)
    assert seen(after(data + b"\x83")) == seen(after(data))


@pytest.mark.parametrize("frame", WHOLE)
def test_a_frame_may_be_cut_anywhere(frame):
    """In its header, too, as long as that is."""
    before = b"\x01\x00" if frame[0] & 0x0F == 0 else b""
    for at in range(1, len(frame)):
        tracker = after(before + frame[:at])
        assert not tracker.at_boundary
        tracker.feed(frame[at:])
        assert seen(tracker) == seen(after(before + frame))


def test_a_ping_of_ours_may_stand_within_a_message_but_not_within_a_frame():
    """RFC 6455 §5.4."""
    tracker = after(b"\x01\x02a")
    assert (tracker.may_insert, tracker.in_message) == (False, True)
    tracker.feed(b"b")
    assert (tracker.may_insert, tracker.in_message) == (True, True)
    tracker.feed(b"\x80\x01")
    assert (tracker.may_insert, tracker.in_message, tracker.messages) == (False, True, 0)
    tracker.feed(b"c")
    assert (tracker.may_insert, tracker.in_message, tracker.messages) == (True, False, 1)


def test_a_frame_of_many_gigabytes_is_stepped_over():
    piece = bytes(64 * KIB)
    tracker = after(b"\x82\x7f" + (1 << 40).to_bytes(8, "big"))
    for _ in range(1 << 12):
        tracker.feed(piece)
    assert not tracker.at_boundary
    assert (tracker.messages, tracker.in_message) == (0, True)


@pytest.mark.parametrize("frame", [b"\x81\x00", b"\x89\x00", b"\x01\x00\x80\x00", b"\x82\x7f" + bytes(8)])
def test_following_tiny_frames_takes_linear_work(frame):
    read = frame * (256 * KIB // len(frame))
    tracker = after(read, *(bytes([byte]) for byte in frame * KIB), read)
    assert tracker.messages == (0 if frame[0] == 0x89 else 2 * (len(read) // len(frame)) + KIB)
    assert tracker.may_insert


masks = st.none() | st.binary(min_size=4, max_size=4)


@given(codes, st.text(max_size=200), masks)
@example(1012, "a" * 122 + "é", None)
@example(1012, "\ud800", MASK)
def test_a_close_frame_of_ours_is_read_by_websockets(code, reason, mask):
    """With as much of the reason as fits (§5.5)."""
    theirs = reader(Side.CLIENT if mask is None else Side.SERVER)
    frame = close_frame(code, reason, mask=mask)
    theirs.receive_data(frame)
    assert theirs.close_rcvd is not None
    said = theirs.close_rcvd.reason
    encodable = reason.encode(errors="replace").decode()
    assert (theirs.close_rcvd.code, encodable[: len(said)]) == (code, said)
    assert said == encodable or len(encodable[: len(said) + 1].encode()) > 123
    assert after(frame).close_code == code


@given(conversations(), st.integers(0, 1 << 20))
def test_who_feeds_no_more_than_the_frame_under_way_is_at_its_end(passed, place):
    """Wherever the stream is cut, and nothing is looked at twice or left out."""
    wire = b"".join(each.wire for each in passed)
    ends = [0, *accumulate(len(each.wire) for each in passed)]
    at = place % (len(wire) + 1)
    tracker = after(wire[:at])
    assert tracker.feed_to_boundary(wire[at:]) == next(end for end in ends if end >= at) - at
    assert tracker.at_boundary
    assert tracker.feed_to_boundary(b"more") == 0


@given(conversations(), st.integers(0, 1 << 20))
def test_who_feeds_no_more_than_the_message_under_way_is_at_its_end(passed, place):
    wire = b"".join(each.wire for each in passed)
    ends = [0, *accumulate(len(each.wire) for each in passed)]
    between = [True, *(not each.in_message or each.close_code is not None for each in passed)]
    at = place % (len(wire) + 1)
    tracker = after(wire[:at])
    size = tracker.feed_to_boundary(wire[at:], of_message=True)
    assert at + size == next(
        (end for end, is_between in zip(ends, between, strict=True) if is_between and end >= at), len(wire)
    )


def test_a_frame_that_is_not_all_here_takes_what_there_is():
    tracker = after(b"\x82\x7f\x00")
    assert tracker.feed_to_boundary(b"\x00\x00\x00\x00\x01\x00\x00") == 7
    assert tracker.feed_to_boundary(bytes(65_000)) == 65_000
    assert not tracker.at_boundary
    assert tracker.feed_to_boundary(bytes(1_000)) == 536
    assert (tracker.at_boundary, tracker.messages) == (True, 1)


def test_only_codes_that_websockets_would_read_may_be_sent():
    """RFC 6455 §7.4, and what IANA has added."""
    for code in range(1 << 16):
        try:
            Close(code, "").check()
        except ProtocolError:
            assert not may_send(code), code
        else:
            assert may_send(code), code


@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_536])
def test_a_code_that_may_not_be_sent_is_refused(code):
    with pytest.raises(ValueError, match=str(code)):
        close_frame(code, mask=None)


@pytest.mark.parametrize("mask", [b"", b"abc", b"abcde"])
def test_a_mask_has_four_bytes(mask):
    with pytest.raises(ValueError, match="mask"):
        close_frame(1012, mask=mask)
