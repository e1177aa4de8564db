"""The commands: what they accept, what they say, and how they end."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from processes import Program
from redis_server import RedisServer
from sidecar.cli.commands import run
from sidecar.cli.settle import look_at
from sidecar.cli.shadow import refuse_shadow
from sidecar.cli.trouble import TroubleError
from sidecar.cli.until_told import run_until_told
from sidecar.contract.codec import encode_view
from sidecar.contract.config import parse
from sidecar.contract.connect import connect
from sidecar.contract.keys import PoolKeys, pools_index
from sidecar.contract.model import Health, Verdict, View
from sidecar.store import Claim

FILE = """
[store]
url = "redis://:secret@127.0.0.1:6379/0"
host = "web-1"
[listen]
bind = ["127.0.0.1:8000", "unix:/run/proxy.sock"]
workers = 3
[pools.api]
backends = ["http://127.0.0.1:8081", {url = "http://127.0.0.1:8082", id = "b", backup = true}]
[pools.web]
backends = ["http://10.0.0.1:80"]
[[routes]]
pool = "api"
path_prefix = "/api"
methods = ["GET", "HEAD"]
[[routes]]
pool = "web"
host = "example.org"
"""
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sidebeat.toml"
    path.write_text(FILE)
    return path


def fails(capsys: Captured, *arguments: str) -> tuple[int, str]:
    """The exit status and the one line on stderr."""
    status = run(arguments)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("sidebeat: ")
    assert err.count("\n") == 1, err
    return status, err.removeprefix("sidebeat: ").rstrip("\n")


def test_help_does_not_wait_for_what_it_does_not_need():
    heavy = ["redis", "httpx", "fastapi", "pydantic", "rich", "worker"]
    code = f"import sys; from sidecar.cli import main; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-P", "-c", code], text=True) == "[]\n"


def test_help_names_every_command(capsys: Captured):
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    for command in (
        "up", "monitor", "worker", "status", "top", "events", "explain", "doctor", "keys", "drain", "maint", "ready",
        "weight", "reload", "restart", "check", "schema", "completion",
    ):  # fmt: skip
        assert f"\n  {command} " in out


def test_the_version_is_said(capsys: Captured):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("sidebeat 0.")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "Missing command"),
        (["frobnicate"], "'frobnicate'"),
        (["--frobnicate"], "--frobnicate"),
        (["up", "--frobnicate"], "--frobnicate"),
        (["up", "--bind"], "--bind"),
        (["up", "--workers", "many", "http://127.0.0.1:1"], "--workers"),
        (["status", "extra"], "extra"),
        (["monitor", "--frobnicate"], "--frobnicate"),
    ],
)
def test_wrong_use_is_one_line_that_names_it(capsys: Captured, arguments: list[str], named: str):
    status, line = fails(capsys, *arguments)
    assert status == 2
    assert named in line


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--workers", "0"], "listen.workers: input should be greater than or equal to 1, not '0' (from --workers)"),
        (["--bind", "8000"], "listen.bind: '8000' is not HOST:PORT, [IPV6]:PORT or unix:PATH (from --bind)"),
        (["--admin", "127.0.0.1:8000"], "listen: admin and bind are both 127.0.0.1:8000"),
        (["--redis", "localhost:6379"], "store.url: needs redis://, rediss:// or unix:// in front (from --redis)"),
        (["--redis", "redis://h:99999"], "store.url: port out of range 0-65535 (from --redis)"),
        (["--redis", "redis://h:x"], "store.url: port could not be cast to integer value as 'x' (from --redis)"),
    ],
)  # fmt: skip
def test_a_value_that_is_no_good_is_said_with_key_and_flag(capsys: Captured, arguments: list[str], line: str):
    assert fails(capsys, "up", "http://127.0.0.1:1", *arguments) == (2, line)


@pytest.mark.parametrize(
    ("urls", "line"),
    [
        (["127.0.0.1:8081"], "'127.0.0.1:8081' needs a scheme: http://HOST:PORT, https://HOST:PORT or unix:/PATH"),
        (["http://h/path"], "'http://h/path' may not have a path: the client's path is forwarded as it came"),
        (["unix:/s"] * 2, "pools.default.backends: '/s' stands twice; give one of them an id of its own (from URL)"),
        ([], "pools: no backend is configured; give URLs, or a file with [pools.NAME] backends = […]"),
    ],
)  # fmt: skip
def test_a_backend_that_is_none_is_said(capsys: Captured, urls: list[str], line: str):
    assert fails(capsys, "up", *urls) == (2, line)


def test_a_misspelt_variable_is_said(capsys: Captured, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SIDEBEAT_LISTEN__WORKRES", "2")
    status, line = fails(capsys, "up", "http://127.0.0.1:1")
    assert (status, line) == (2, "listen.workres: no such key (from SIDEBEAT_LISTEN__WORKRES)")


def test_check_says_everything_that_is_wrong_a_line_each(capsys: Captured, file: Path):
    file.write_text(FILE.replace("workers = 3", "workers = 0\nspeed = 11").replace('"api"', '"none"'))
    assert run(["check", "-c", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.partition(": ")[2].partition(":")[0] for line in err.splitlines()] == [
        "listen.workers",
        "listen.speed",
    ]


def test_check_says_what_is_in_force_when_nothing_is_wrong(capsys: Captured, file: Path):
    assert run(["check", "-c", str(file)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "proxy    127.0.0.1:8000, unix:/run/proxy.sock; 3 workers",
        "admin    127.0.0.1:9901",
        "console  127.0.0.1:9900",
        "store    redis://:***@127.0.0.1:6379/0; namespace default, host web-1",
        "pool     api@web-1: 127.0.0.1:8081, b (backup); GET / each 1 s, p2c_ewma",
        "pool     web: 10.0.0.1:80; GET / each 1 s, p2c_ewma",
        "route    GET,HEAD /api -> api",
        "route    example.org/ -> web",
    ]


def test_the_schema_describes_the_file(capsys: Captured):
    assert run(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert set(schema["properties"]) >= {"store", "listen", "pools", "routes"}
    assert schema["additionalProperties"] is False


def test_without_a_store_status_says_which_key_is_missing_and_where_it_looked(capsys: Captured):
    status, line = fails(capsys, "status")
    assert status == 1
    assert line.startswith(
        f"store.url: not set, and no store runs at {os.environ['XDG_RUNTIME_DIR']}/sidebeat/default/"
    )


@pytest.mark.parametrize("command", ["status", "keys"])
def test_a_store_that_is_not_there_is_one_line_without_its_password(capsys: Captured, command: str):
    status, line = fails(capsys, command, "--redis", "redis://:secret@127.0.0.1:1/0")
    assert (status, line) == (1, "store.url: redis://:***@127.0.0.1:1/0 cannot be read: connection refused")


def test_a_monitor_without_a_store_is_a_config_error(capsys: Captured, file: Path):
    file.write_text(FILE.replace("url = ", "# ", 1))
    status, line = fails(capsys, "monitor", "-c", str(file))
    assert status == 2
    assert line.startswith("store.url: not set")


def publish(url: str, namespace: str, pool: str = "api") -> None:
    async def write() -> None:
        async with connect(url) as store:
            verdict = Verdict(id="a", url="http://a:1", state=Health.HEALTHY, reason="200")
            await store.sadd(pools_index(namespace), pool)
            await store.set(PoolKeys(namespace, pool).view, encode_view(View(epoch=5, backends={"a": verdict})))

    asyncio.run(write())


def test_status_as_json_is_the_contract(shared_redis: RedisServer, namespace: str, capsys: Captured):
    publish(shared_redis.url, namespace)
    assert run(["status", "--json", "--redis", shared_redis.url, "--namespace", namespace]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["pools"]["api"]["epoch"] == 5
    assert content["pools"]["api"]["backends"]["a"]["state"] == "healthy"
    assert content["pools"]["api"]["workers"] == []


def test_status_of_a_file_shows_its_pools_too(shared_redis: RedisServer, namespace: str, capsys: Captured, file: Path):
    file.write_text(FILE.replace("redis://:secret@127.0.0.1:6379/0", shared_redis.url))
    assert run(["status", "--json", "-c", str(file), "--namespace", namespace]) == 0
    assert set(json.loads(capsys.readouterr().out)["pools"]) == {"api@web-1", "web"}


def test_a_second_terminal_finds_the_running_system(shared_redis: RedisServer, namespace: str, capsys: Captured):
    publish(shared_redis.url, namespace)
    with Claim.take(namespace, os.environ) as claim:
        claim.tell(shared_redis.url)
        assert run(["status", "--namespace", namespace]) == 0
        assert "no monitor leads" in capsys.readouterr().out
        assert run(["keys", "view", "--namespace", namespace]) == 0
        assert f"sidebeat:{{{namespace}:api}}:view  (string, stays)" in capsys.readouterr().out


def test_an_empty_namespace_is_said(shared_redis: RedisServer, namespace: str, capsys: Captured):
    assert run(["keys", "--redis", shared_redis.url, "--namespace", namespace]) == 0
    assert capsys.readouterr().out == f"no key in the namespace '{namespace}'\n"
    assert run(["keys", "view", "--redis", shared_redis.url, "--namespace", namespace]) == 0
    assert capsys.readouterr().out == f"no key like 'view' in the namespace '{namespace}'\n"


def test_a_flag_wins_over_a_variable_and_that_over_the_file(file: Path):
    environ = {"SIDEBEAT_STORE__URL": "redis://variable", "SIDEBEAT_STORE__NAMESPACE": "variable"}
    place = look_at(file, environ, {"--redis": None, "--namespace": "flag"})
    assert (place.url, place.namespace, place.pools) == ("redis://variable", "flag", ("api@web-1", "web"))
    assert look_at(None, environ, {"--redis": "redis://flag"}).url == "redis://flag"


def test_urls_become_the_pool_default_and_keep_what_the_file_says_of_it():
    environ = {"SIDEBEAT_POOLS__DEFAULT__BACKENDS": '["http://127.0.0.1:1", "http://127.0.0.1:2"]'}
    config = parse({"pools": {"default": {"health_check": {"path": "/up"}}}}, environ)
    assert [backend.id for backend in config.pools["default"].members] == ["127.0.0.1:1", "127.0.0.1:2"]
    assert config.pools["default"].health_check.path == "/up"
    assert config.key_name("default") == f"default@{config.store.host}"


def test_a_reader_that_goes_away_is_no_traceback(shared_redis: RedisServer, namespace: str):
    publish(shared_redis.url, namespace)
    command = [sys.executable, "-P", "-m", "sidecar", "schema"]
    pipeline = subprocess.run(
        ["/bin/sh", "-c", '"$@" | true', "sh", *command], capture_output=True, text=True, check=False
    )
    assert pipeline.stderr == ""


def test_a_password_in_an_argument_is_not_shown_to_others():
    code = """
import sys, time
from sidecar.cli.title import hide_passwords
hide_passwords()
print(sys.argv[1:], flush=True)
time.sleep(60)
"""
    urls = ["redis://:se%40cret@h:1/0", "--redis=rediss://ada:secret@h", "http://h:80/@", "plain"]
    with Program([sys.executable, "-P", "-c", code, *urls]) as program:
        program.wait_for_line(r"^\[")
        seen = Path(f"/proc/{program.pid}/cmdline").read_text().split("\0")[4:-1]
        assert seen == ["redis://:*********@h:1/0", "--redis=rediss://ada:******@h", "http://h:80/@", "plain"]
        assert "se%40cret" in program.stdout


def test_somebody_elses_worker_on_the_import_path_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    refuse_shadow()
    (tmp_path / "worker.py").write_text("raise SystemExit('theirs')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "worker", raising=False)
    with pytest.raises(TroubleError, match=rf"^{tmp_path}/worker\.py is in the way of our package `worker`"):
        refuse_shadow()


@pytest.mark.parametrize("signal_name", ["SIGTERM", "SIGINT"])
def test_a_signal_is_a_cancellation_and_then_an_orderly_end(signal_name: str):
    code = f"""
import asyncio, os, signal
from sidecar.cli.until_told import run_until_told
async def work():
    try:
        os.kill(os.getpid(), signal.{signal_name})
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.01)
        print("cleaned up", flush=True)
asyncio.run(run_until_told(work()))
"""
    with Program([sys.executable, "-P", "-c", code]) as program:
        assert program.wait() == 0
        assert program.output == "cleaned up\n"


async def test_what_the_work_raises_is_not_swallowed():
    async def work() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await run_until_told(work())


@pytest.mark.parametrize(
    ("kind", "said"), [("http", "GET / each"), ("tcp", "tcp each"), ("websocket", "websocket / each")]
)
def test_check_says_what_is_asked_of_a_backend(capsys: Captured, tmp_path: Path, kind: str, said: str):
    path = tmp_path / "sidebeat.toml"
    path.write_text(f'[pools.web]\nbackends = ["http://10.0.0.1"]\nhealth_check = {{type = "{kind}"}}\n')
    assert run(["check", "-c", str(path)]) == 0
    assert f"10.0.0.1:80; {said} 1 s" in capsys.readouterr().out
