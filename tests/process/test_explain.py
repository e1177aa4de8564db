"""`sidebeat explain` against real workers: asked on their admin socket, and told by their answers."""

import json
import os
from pathlib import Path

from backend import Backend
from chain import second_terminal, sidebeat, worker_started, write_config
from processes import children
from raw_client import fetch

NO_STORE = "redis://127.0.0.1:1/0"  # nobody listens on port 1, and workers do not need anybody to


async def test_where_a_request_would_go_is_told_and_where_one_went(backend: Backend, tmp_path: Path):
    """Found by the run directory alone: from elsewhere, and without the config."""
    admin = Path(os.environ["XDG_RUNTIME_DIR"], "admin.sock")
    config = write_config(tmp_path, {"alpha": backend}, store={"url": NO_STORE}, listen={"admin": f"unix:{admin}"})
    with sidebeat("worker", "-c", config, cwd=tmp_path) as program:
        system = await worker_started(program)
        text = await second_terminal("explain", "GET", "/x", "-H", "Connection: X-A", "-H", "X-A: 1", cwd=tmp_path)
        for words in ("GET /x  Host localhost", "✓ route any host / to api", "alpha    100.0%", "-  X-A", "+  Via"):
            assert words in text
        told = json.loads(await second_terminal("explain", "http://h/x", "--json", "-c", str(config), cwd=tmp_path))
        assert (told["method"], told["host"], told["choice"]["pool"]) == ("GET", "h", "api")
        assert [(each["id"], each["probability"]) for each in told["backends"]] == [("alpha", 1.0)]
        assert told["worker"]["pid"] in children(program.pid)
        assert (await fetch(system.admin, "/explain?url=ftp://h/")).status == 400
        assert b"/explain" in (await fetch(system.admin, "/")).body.split()
        assert backend.requests == [], "nothing was sent"
        token = (await second_terminal("explain", "--token", "--ttl", "1m", cwd=tmp_path)).strip()
        response = await fetch(system.port, headers=[("host", "h"), ("x-sidebeat-explain", token)])
        said = response.header("x-sidebeat-explain")
        assert said is not None, response.headers
        assert json.loads(said)["attempts"][0]["backend"] == "alpha"
        assert (await fetch(system.port)).header("x-sidebeat-explain") is None
