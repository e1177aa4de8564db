"""The app for other servers where they do not do their part; where they do, see tests/process/test_asgi_servers.py."""

from pathlib import Path

import pytest

from sidecar.contract.config import ConfigError
from worker.gateway import Message
from worker.standalone import gateway

CONFIG = '[store]\nurl = "redis://127.0.0.1:1/0"\n[pools.api]\nbackends = ["http://127.0.0.1:1"]\n'


async def never() -> Message:
    raise AssertionError("nobody asks for it")


def test_a_config_that_cannot_be_used_is_said_at_once(tmp_path: Path):
    with pytest.raises(ConfigError, match="missing"):
        gateway(tmp_path / "missing.toml")


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_a_server_without_a_lifespan_is_told(tmp_path: Path, kind: str):
    (tmp_path / "sidebeat.toml").write_text(CONFIG)
    app = gateway(tmp_path / "sidebeat.toml")
    with pytest.raises(RuntimeError, match="has not run this app's lifespan"):
        await app({"type": kind}, never, never)  # type: ignore[arg-type]
