"""ASGI apps of other people served inside the test by the server they run under: uvicorn, on a port of its own."""

import asyncio
import importlib.util
import socket
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import uvicorn
from typing_extensions import override

from waiting import eventually


class Server(uvicorn.Server):
    """One of several in a process, which takes no signals."""

    @override
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@asynccontextmanager
async def running(app: Any, **settings: Any) -> AsyncIterator[str]:
    """The URL of an app that has started, until the block ends; then it has ended in order."""
    config = uvicorn.Config(app, **{"ws": "websockets-sansio", "lifespan": "on", "log_config": None, **settings})
    server = Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve([listener]))
            await eventually(lambda: server.started, within=20)
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                server.should_exit = True


def loaded(path: Path) -> ModuleType:
    """A module that is on nobody's path, executed anew."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
