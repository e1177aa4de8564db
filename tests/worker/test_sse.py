"""Where an event stream may end, held against a reading of it character by character (WHATWG HTML §9.2.5)."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.sse import EventTracker

MIB = 1 << 20
MARK = b"\xef\xbb\xbf"


def after(*pieces: bytes) -> EventTracker:
    tracker = EventTracker()
    for piece in pieces:
        tracker.feed(piece)
    return tracker


def loses_nothing(stream: bytes) -> bool:
    """Whether a client misses nothing if it ends here, by the letter of the standard: its own state machine."""
    text = stream.removeprefix(MARK)
    line = b""
    is_pending = is_after_cr = False
    for byte in (text[at : at + 1] for at in range(len(text))):
        if byte == b"\n" and is_after_cr:
            is_after_cr = False
            continue
        is_after_cr = byte == b"\r"
        if byte not in {b"\n", b"\r"}:
            line += byte
            continue
        is_pending = bool(line) and (is_pending or not line.startswith(b":"))
        line = b""
    return not is_pending and not line


def may_end(stream: bytes) -> bool:
    """The same, but waiting for the second half of a line end that has begun with a CR."""
    return loses_nothing(stream) and not (stream.endswith(b"\n\r") and not loses_nothing(stream[:-1]))


@pytest.mark.parametrize(
    ("stream", "is_after"),
    [
        (b"", True),
        (b"data: a\n\n", True),
        (b"data: a\r\n\r\n", True),
        (b"data: a\r\r", True),
        (b"data: a\n\r\n", True),
        (b"data: a\r\n\n", True),
        (b"data: a", False),
        (b"data: a\n", False),
        (b"data: a\r\n", False),
        (b"data: a\r", False),
        (b"data: a\n\ndata", False),
        (b"data: a\n\ndata: b\n", False),
        (b"data: a\n\nid: 5\n", False),
        (b"retry: 10\n", False),
        (b":", False),
        (b": alive", False),
        (b": alive\n", True),
        (b": alive\n: still\n", True),
        (b": alive\r\n", True),
        (b"data: a\n\n: alive\n", True),
        (b"data: a\n\n: ali", False),
        (b"data: a\n: alive\n", False),
        (b": alive\ndata: a\n", False),
        (b"data: a:b\n", False),
        (b"\n", True),
        (b"\n\n\n", True),
        (b"data: a\n\n\n", True),
        (MARK, True),
        (MARK[:2], False),
        (MARK[:2] + b"\n", False),
        (MARK[:2] + b"\n\n", True),
        (MARK + b": alive\n", True),
        (MARK + MARK + b": alive\n", False),
        (b": alive\n" + MARK + b": alive\n", False),
        (MARK + b"data: a\n\n", True),
    ],
)
def test_a_stream_may_end_behind_whole_events_however_it_came(stream, is_after):
    """An event without its blank line is thrown away; a comment needs but its line end; a mark stands only first."""
    assert loses_nothing(stream) == is_after
    assert after(stream).after_event == is_after
    assert after(*(bytes([byte]) for byte in stream)).after_event == is_after
    for at in range(len(stream)):
        assert after(stream[:at], b"", stream[at:]).after_event == is_after


def test_half_a_line_end_is_waited_for():
    """A client that looks for CRLF CRLF would miss the event, though the standard gives it to the others."""
    tracker = after(b"data: a\r\n\r")
    assert loses_nothing(b"data: a\r\n\r")
    assert (tracker.after_event, tracker.last_boundary) == (False, 0)
    tracker.feed(b"\ndata: b\r\n")
    assert (tracker.after_event, tracker.last_boundary) == (False, 1)


@pytest.mark.parametrize(
    ("before", "piece", "boundary"),
    [
        (b"", b"data: a\n\n", 9),
        (b"", b"data: a\n\ndata: b", 9),
        (b"", b"data: a\n\ndata: b\n\n", 18),
        (b"", b"data: a\n\ndata: b\n\ndata", 18),
        (b"", b"data: a\r\n\r\ndata: b", 11),
        (b"", b"data: a\r\rdata: b\n", 9),
        (b"", b"data: a\n\n: b", 9),
        (b"", b"data: a\n\n: b\n", 13),
        (b"", b"data: a", 0),
        (b"", b"", 0),
        (b"", MARK[:1], 0),
        (b"", MARK, 3),
        (b"", MARK + b"data: a\n\ndata", 12),
        (MARK[:1], MARK[1:] + b"data: a\n\ndata", 11),
        (b"data: a\n\n", b"data: b", 0),
        (b"data: a", b"data: b", None),
        (b"data: a", b"\n", None),
        (b"data: a", b"", None),
        (b"data: a\n", b"\n", 1),
        (b"data: a\n", b"\ndata: b", 1),
        (b"data: a\r", b"\ndata: b", None),
        (b"data: a\r", b"\r\ndata: b", 1),
        (b"data: a\r\n", b"\r\ndata: b", 2),
        (b"data: a\r\n\r", b"\ndata: b", 1),
        (b"data: a\n", b": b\n\ndata", 5),
    ],
)
def test_a_piece_says_how_much_of_it_may_pass(before, piece, boundary):
    """So that a drain can pass the end of an event and hold back the beginning of the next."""
    assert after(before, piece).last_boundary == boundary


line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
lines = st.sampled_from([b"", b"", b":", b": alive", b"data: a", b"a", b"id", MARK, MARK[:2], b"data::"])


@st.composite
def streams(draw):
    """The beginning of a stream that uses one kind of line end; it may stop anywhere."""
    ends = draw(line_ends)
    stream = draw(st.sampled_from([b"", MARK])) + b"".join(line + ends for line in draw(st.lists(lines, max_size=8)))
    return stream[: draw(st.integers(0, len(stream)))]


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    cuts = sorted(min(place, len(stream)) for place in places)
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


places = st.lists(st.integers(0, 60), max_size=6)


@given(streams(), places)
@example(b"data: a\r\n\r\n", [9, 10])
def test_any_stream_reads_as_the_standard_says_in_any_pieces(stream, places):
    tracker = EventTracker()
    passed = b""
    for piece in cut(stream, places):
        tracker.feed(piece)
        ends = [at for at in range(len(piece) + 1) if may_end(passed + piece[:at])]
        passed += piece
        assert tracker.after_event == may_end(passed)
        if not ends:
            assert tracker.last_boundary is None
        elif tracker.last_boundary is not None:
            assert tracker.last_boundary in ends


@given(st.lists(st.sampled_from([b"\n", b"\r", b":", b"a", b"\n\n", MARK[:1], MARK[1:]]), max_size=12), places)
def test_whatever_comes_it_never_ends_where_something_would_be_lost(parts, places):
    """Of line ends of all kinds mixed, the tracker may wait for longer than it has to."""
    stream = b"".join(parts)
    tracker = EventTracker()
    passed = b""
    for piece in cut(stream, places):
        tracker.feed(piece)
        if tracker.last_boundary is not None:
            assert loses_nothing(passed + piece[: tracker.last_boundary])
        passed += piece
        assert loses_nothing(passed) or not tracker.after_event


@given(streams())
def test_an_event_that_ends_in_a_piece_is_found_there(stream):
    """However it came: behind its blank line the rest of the piece may wait."""
    ending = b"data: a\r\n\r\n"
    tracker = after(b"data: before", b"\r\n" + ending + stream.removeprefix(MARK) + b"data")
    assert tracker.last_boundary is not None
    assert tracker.last_boundary >= 2 + len(ending)


@pytest.mark.parametrize(
    ("line", "is_after"),
    [(b"a", False), (b":", False), (b"\r", True), (b":\n", True), (b"a\r\n", False), (b"\n\r", True)],
)
def test_looking_takes_linear_work(line, is_after):
    tracker = EventTracker()
    for _ in range(5):
        tracker.feed(line * MIB)
    assert tracker.after_event == is_after
