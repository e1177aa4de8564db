"""Another config while clients are there: they notice nothing but what was asked for."""

import asyncio
from typing import Any

from backend import Backend, Connection, Request, answers
from lanes import Lane, StartLane, in_one_lane
from raw_client import RawClient, fetch
from sidecar.contract.config import Config, parse
from waiting import eventually

pytestmark = in_one_lane


def lane_config(lane: Lane, *backends: Backend, routes: list[dict[str, Any]] | None = None, **pool: Any) -> Config:
    """The config of a lane with other backends."""
    timeouts, balancing = lane.runtime.config.pools["api"].timeouts, {"policy": "round_robin"}
    section = {"backends": [each.url for each in backends], "timeouts": timeouts.model_dump(), "balancing": balancing}
    store = lane.runtime.config.store.model_dump()
    return parse({"store": store, "pools": {"api": section | pool}, "routes": routes or []}, {})


async def test_a_stream_goes_on_while_its_backend_leaves_the_pool(start_lane: StartLane, backend: Backend):
    goes_on = asyncio.Event()

    async def streams(request: Request, connection: Connection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await goes_on.wait()
        await connection.send(b"3\r\ntwo\r\n0\r\n\r\n")

    backend.handler = streams
    async with Backend(answers(body=b"other")) as other:
        lane = await start_lane(backend.url)
        async with RawClient(lane.port) as client:
            await client.request()
            await eventually(lambda: backend.requests)
            old, row = lane.runtime.pools["api"], lane.runtime.seats["api"].rows[f"127.0.0.1:{backend.port}"]
            lane.runtime.apply(lane_config(lane, other))
            assert (await fetch(lane.port)).body == b"other"
            assert lane.runtime.board.in_flight(row) == 1
            goes_on.set()
            assert (await client.read_response()).body == b"onetwo"
        await eventually(lambda: not lane.runtime.board.in_flight(row))
        await eventually(lambda: not any(upstream.open for upstream in old.upstreams.values()))


async def test_a_connection_at_rest_is_used_again_under_another_config(start_lane: StartLane, backend: Backend):
    lane = await start_lane(backend.url)
    assert (await fetch(lane.port)).status == 200
    async with Backend(answers(body=b"other")) as other:
        lane.runtime.apply(lane_config(lane, backend, other, retry={"num_retries": 0}))
        for _ in range(2):
            await fetch(lane.port)
    assert backend.connections_total == 1


async def test_routes_and_limits_of_what_clients_send_hold_from_the_next_request_on(
    start_lane: StartLane, backend: Backend
):
    lane = await start_lane(backend.url)
    async with RawClient(lane.port) as client:
        await client.request()
        assert (await client.read_response()).status == 200
        changed = lane_config(lane, backend, routes=[{"pool": "api", "path_prefix": "/new"}])
        lane.runtime.apply(changed.model_copy(update={"listen": changed.listen.model_copy(update={"max_headers": 8})}))
        await client.request()
        assert (await client.read_response()).status == 404
        await client.request("GET", "/new")
        assert (await client.read_response()).status == 200
        await client.request("GET", "/new", headers=[("Host", "a"), *((f"x-{n}", "") for n in range(9))])
        assert (await client.read_response()).status == 431
