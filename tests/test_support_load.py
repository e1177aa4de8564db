"""The load that tests put on the product notices what a client would."""

import pytest

from backend import Backend, Handler, answers, resets, sends
from load import Load
from waiting import eventually

GOOD = b'{"backend": "good"}'


async def test_what_goes_well_is_counted_on_both_kinds_of_connections():
    async with Backend(answers(body=GOOD)) as backend:
        async with Load(backend.port, "/", per_second=200) as load:
            await eventually(lambda: load.shares()["good"] >= 40)
        load.assert_unharmed()
        closing = sum(request.header("connection") == b"close" for request in backend.requests)
        assert closing < backend.connections_total < len(backend.requests)


@pytest.mark.parametrize(
    "handler",
    [
        answers(503, body=GOOD),
        answers(body=b"{}"),
        answers(body=b"cut"),
        resets(),
        sends(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n" + GOOD),
    ],
    ids=["an error", "another's answer", "no JSON", "a reset", "an answer cut short"],
)
async def test_what_goes_wrong_is_a_failure(handler: Handler):
    async with Backend(handler) as backend:
        async with Load(backend.port, "/", per_second=200) as load:
            await eventually(lambda: len(load.failures) >= 4)
        assert not load.answers
        with pytest.raises(AssertionError, match="failures:"):
            load.assert_unharmed()


async def test_a_load_that_hardly_ran_proves_nothing():
    async with Backend(answers(body=GOOD)) as backend:
        async with Load(backend.port, "/", per_second=200) as load:
            await eventually(lambda: load.answers)
        load.answers.clear()
        with pytest.raises(AssertionError, match="only"):
            load.assert_unharmed()
