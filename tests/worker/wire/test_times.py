"""How long responses took, as the board has it: to the head and to the end, each of them once."""

from contextlib import suppress

from backend import Backend, Connection, Request, answers
from lanes import Lane, StartLane
from raw_client import RawClient, fetch
from waiting import eventually
from wire import TruncatedError


def times(lane: Lane) -> tuple[int, int]:
    """How many heads have come, and how many responses have ended."""
    seats = lane.runtime.seats["api"]
    rows = list(seats.rows.values())
    return sum(seats.board.first_bytes(rows)), sum(sum(seats.board.figures(row).durations) for row in rows)


async def streams(_request: Request, connection: Connection) -> None:
    """A response that begins, and lasts until its client goes."""
    await connection.start_chunked()
    await connection.chunk(b"on and on")
    await connection.gone()


async def breaks_off(_request: Request, connection: Connection) -> None:
    """A response that begins, and does not end well."""
    await connection.start_chunked()
    await connection.chunk(b"on and")
    connection.reset()


async def test_a_whole_response_has_both_times_at_once(start_lane: StartLane, backend: Backend):
    lane = await start_lane(backend.url)
    await fetch(lane.port)
    assert times(lane) == (1, 1)


async def test_a_stream_has_its_second_time_when_it_has_ended_in_whatever_way(start_lane: StartLane, backend: Backend):
    lane = await start_lane(backend.url)
    backend.handler = streams
    async with RawClient(lane.port) as client:
        await client.request()
        await client.read_head()
        assert times(lane) == (1, 0)
        client.abort()
    await eventually(lambda: times(lane) == (1, 1))

    backend.handler = breaks_off
    async with RawClient(lane.port) as client:
        await client.request()
        with suppress(TruncatedError, ConnectionError):
            await client.read_response()
    await eventually(lambda: times(lane) == (2, 2))


async def test_what_a_failed_attempt_took_is_no_time_of_a_response(start_lane: StartLane, backend: Backend):
    lane = await start_lane(backend.url, retry={"num_retries": 0})
    backend.handler = answers(503)
    assert (await fetch(lane.port)).status == 503
    backend.refuse()
    backend.drop_connections()
    assert (await fetch(lane.port)).status == 502
    await lane.quiet()
    assert times(lane) == (0, 0)
