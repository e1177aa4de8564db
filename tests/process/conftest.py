"""What the tests of whole processes share."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest

from chain import Demo
from waiting import eventually_sync

NAMES = ("alpha", "bravo", "charlie")


@pytest.fixture(scope="session")
def running_demos() -> Iterator[Mapping[str, Demo]]:
    """Use `demos`: one of these may have been killed by an earlier test."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(Demo(name)) for name in NAMES}


@pytest.fixture
def demos(running_demos: Mapping[str, Demo]) -> Mapping[str, Demo]:
    """Three FastAPI backends by their names, all of them up. They may be killed, and they may be started again."""
    for demo in running_demos.values():
        demo.start()
    eventually_sync(lambda: all(demo.accepts for demo in running_demos.values()), within=30)
    return running_demos
