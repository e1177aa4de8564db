"""What the tests of whole processes share."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest

from chain import Demo
from waiting import eventually_sync

NAMES = ("alpha", "bravo", "charlie")


@pytest.fixture(scope="session")
def running_demos() -> Iterator[Mapping[str, Demo]]:
    """Use `demos` or `module_demos`: one of these may have been killed by an earlier test."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(Demo(name)) for name in NAMES}


@pytest.fixture
def demos(running_demos: Mapping[str, Demo]) -> Mapping[str, Demo]:
    """Three FastAPI backends by their names, all of them up. They may be killed, and they may be started again."""
    return all_up(running_demos)


@pytest.fixture(scope="module")
def module_demos(running_demos: Mapping[str, Demo]) -> Mapping[str, Demo]:
    """The same for a system that all tests of a module share: all of them are up when it starts."""
    return all_up(running_demos)


def all_up(demos: Mapping[str, Demo]) -> Mapping[str, Demo]:
    """Start those that do not run, and wait until all accept."""
    for demo in demos.values():
        demo.start()
    eventually_sync(lambda: all(demo.accepts for demo in demos.values()), within=30)
    return demos
