"""One look for all who ask."""

import asyncio
from itertools import count

import pytest

import sidecar.console.look as look_module
from consoles import setting
from sidecar.console.look import FRESH_S, Look
from sidecar.console.setting import Live
from sidecar.status import Status, UnreadableError


class Store:
    """Reads of a store, held until a test lets them go; `error` None: they succeed."""

    def __init__(self) -> None:
        self.reads = 0
        self.error: UnreadableError | None = None

    async def read(self, url: str, namespace: str, pools: object) -> Status:
        self.reads += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return Status(namespace=namespace, now_ms=self.reads)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()
    monkeypatch.setattr(look_module, "read_status", store.read)
    return store


async def test_who_asks_at_once_is_answered_by_one_read_which_soon_is_too_old(store: Store):
    now = 100.0
    look = Look(Live(setting("redis://x", "default")), clock=lambda: now)
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(look.seen()) for _ in range(10)]
    assert ({each.result().text for each in asked}, store.reads) == ({asked[0].result().text}, 1)
    now += FRESH_S
    assert (await look.seen()).status.now_ms == 2
    look.forget()
    assert (await look.seen()).status.now_ms == 3


async def test_a_store_that_hangs_is_waited_for_once_by_all_and_then_asked_again(store: Store):
    clock = count(100)
    look = Look(Live(setting("redis://x", "default")), clock=lambda: float(next(clock)))
    store.error = UnreadableError("redis://x does not answer within 3 s")
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(_error_of(look)) for _ in range(10)]
    assert ({each.result() for each in asked}, store.reads) == ({str(store.error)}, 1)
    store.error = None
    assert (await look.seen()).status.now_ms == 2


async def _error_of(look: Look) -> str:
    with pytest.raises(UnreadableError) as raised:
        await look.seen()
    return str(raised.value)
