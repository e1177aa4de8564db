"""The peer for python-socketio's server.

python -m uvicorn socketio_app:app
"""

import os

import socketio  # type: ignore[import-untyped]  # it ships no types

server = socketio.AsyncServer(async_mode="asgi")
app = socketio.ASGIApp(server)


@server.event
async def say(_sid: str, text: str) -> list[str]:
    """Who heard it, and what."""
    return [str(os.getpid()), text]


@server.event
async def quiz(sid: str, questions: int) -> list[str]:
    """The answers to so many questions of ours."""
    return [await server.call("question", number, to=sid) for number in range(questions)]
