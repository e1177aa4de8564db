"""Every way to get it wrong: one line on stderr that names the key or flag, an exit status, nothing left running."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chain import sidebeat
from sidecar.cli.commands import run

GOOD = """
[listen]
bind = "127.0.0.1:0"
admin = "127.0.0.1:0"
[pools.api]
backends = ["http://127.0.0.1:8081", "http://127.0.0.1:8082"]
"""
URL = "http://127.0.0.1:8081"
Say = Callable[..., tuple[int, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sidebeat.toml").write_text(GOOD)
    return tmp_path


@pytest.fixture
def taken() -> Iterator[str]:
    """An address that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def one_line(folder: Path, *arguments: str) -> tuple[int, str]:
    """The exit status and the only line on stderr of a command that leaves nothing."""
    with sidebeat(*arguments, cwd=folder) as program:
        status = program.wait()
        program.assert_nothing_left()
        assert program.stderr.endswith("\n")
        assert program.stderr.count("\n") == 1, program.output
        assert "Traceback" not in program.output
        return status, program.stderr.rstrip("\n")


@pytest.fixture
def say(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Say:
    """The same of a command that does not get as far as to start anything, so that it can run in this process.

    All but `worker`, which becomes another program first.
    """

    def said(*arguments: str) -> tuple[int, str]:
        if arguments[:1] == ("worker",):
            return one_line(folder, *arguments)
        status = run(arguments)
        out, err = capsys.readouterr()
        assert out == ""
        assert err.endswith("\n")
        assert err.count("\n") == 1, err
        return status, err.rstrip("\n")

    monkeypatch.chdir(folder)
    return said


BROKEN_FILES = {
    "broken TOML": ("[listen\n", "sidebeat.toml: not valid TOML: "),
    "an unknown key": (GOOD.replace("bind", "blind"), "listen.blind: no such key"),
    "an unknown section": (GOOD + "[listener]\n", "listener: no such key"),
    "a duplicate backend": (GOOD.replace("8082", "8081"), "pools.api.backends: '127.0.0.1:8081' stands twice"),
    "a negative interval": (
        GOOD + "[pools.api.health_check]\ninterval_s = -1\n",
        "pools.api.health_check.interval_s: input should be greater than 0, not -1",
    ),
    "a URL without a scheme": (
        GOOD.replace("http://127.0.0.1:8082", "127.0.0.1:8082"),
        "pools.api.backends[1].url: '127.0.0.1:8082' needs a scheme",
    ),
    "a route to an unknown pool": (
        GOOD + '[[routes]]\npool = "web"\n',
        "routes[0].pool: there is no pool 'web', only api",
    ),
    "no pool": ("[listen]\nworkers = 1\n", "pools: no backend is configured"),
    "a store URL of another kind": (GOOD + '[store]\nurl = "http://h"\n', "store.url: needs redis://"),
}  # fmt: skip


@pytest.mark.parametrize("command", ["up", "monitor", "worker", "check", "status", "keys"])
def test_a_missing_file_is_named(say: Say, command: str):
    status, line = say(command, "-c", "missing.toml")
    assert status == 2
    assert line.endswith("missing.toml: no such file or directory")


@pytest.mark.parametrize(("content", "named"), BROKEN_FILES.values(), ids=BROKEN_FILES)
def test_a_file_that_is_wrong_is_said_with_the_key(folder: Path, say: Say, content: str, named: str):
    (folder / "sidebeat.toml").write_text(content)
    status, line = say("up", "-c", "sidebeat.toml")
    assert status == 2
    assert named in line


def test_a_process_of_its_own_says_the_same_and_leaves_nothing(folder: Path, say: Say):
    content, named = BROKEN_FILES["an unknown key"]
    (folder / "sidebeat.toml").write_text(content)
    command = ("up", "-c", "sidebeat.toml")
    assert one_line(folder, *command) == say(*command) == (2, f"sidebeat: {named}")


@pytest.mark.parametrize("command", ["monitor", "worker", "check"])
def test_every_command_says_the_same_of_a_file_that_is_wrong(folder: Path, say: Say, command: str):
    content, named = BROKEN_FILES["an unknown key"]
    (folder / "sidebeat.toml").write_text(content)
    status, line = say(command, "-c", "sidebeat.toml")
    assert status == 2
    assert named in line


@pytest.mark.parametrize(
    ("command", "variable"),
    [
        ("up", "SIDEBEAT_LISTEN__WROKERS"),
        ("up", "SIDEBEAT_FOO"),
        ("monitor", "SIDEBEAT_STROE__URL"),
        ("worker", "SIDEBEAT_LISTEN__WROKERS"),
        ("check", "SIDEBEAT_LISTEN__WROKERS"),
        ("status", "SIDEBEAT_STORE__URI"),
        ("keys", "SIDEBEAT_STORE"),
    ],
)
def test_a_misspelt_variable_is_named(say: Say, monkeypatch: pytest.MonkeyPatch, command: str, variable: str):
    monkeypatch.setenv(variable, "1")
    status, line = say(command, "-c", "sidebeat.toml")
    assert status == 2
    assert variable in line


@pytest.mark.parametrize("command", ["up", "monitor", "worker", "check", "status", "keys"])
def test_an_unknown_flag_is_named(say: Say, command: str):
    status, line = say(command, "--frobnicate")
    assert status == 2
    assert "--frobnicate" in line


@pytest.mark.parametrize("flag", ["--bind", "--admin"])
def test_a_port_in_use_is_said_at_once_with_the_flag(folder: Path, taken: str, flag: str):
    flags = {"--bind": "127.0.0.1:0", "--admin": "127.0.0.1:0", flag: taken}
    status, line = one_line(folder, "up", URL, *(text for pair in flags.items() for text in pair))
    assert (status, line) == (1, f"sidebeat up: {flag} (listen.{flag[2:]}): {taken} is in use")
    assert list(Path(os.environ["XDG_RUNTIME_DIR"]).iterdir()) == []


def test_a_port_in_use_is_said_by_a_worker_alone(folder: Path, taken: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SIDEBEAT_STORE__URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("SIDEBEAT_LISTEN__BIND", taken)
    status, line = one_line(folder, "worker", "-c", "sidebeat.toml")
    assert status == 1
    assert "listen.bind" in line
    assert f"{taken} is in use" in line


def test_a_redis_that_cannot_be_reached_is_said_with_the_flag(folder: Path):
    status, line = one_line(folder, "up", "-c", "sidebeat.toml", "--redis", "redis://127.0.0.1:1/0")
    assert (status, line) == (
        1,
        "sidebeat up: --redis (store.url): redis://127.0.0.1:1/0 does not answer within 3 s: connection refused",
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["up", "localhost:8081"], "'localhost:8081' needs a scheme"),
        (["up", URL, URL], "'127.0.0.1:8081' stands twice; give one of them an id of its own (from URL)"),
        (["up", URL, "--workers", "0"], "listen.workers: input should be greater than or equal to 1, not"),
        (["up", URL, "--bind", "nowhere"], "listen.bind: 'nowhere' is not HOST:PORT"),
        (["up", URL, "--redis", "localhost"], "store.url: needs redis://"),
        (["up", URL, "--redis", "redis://h:port"], "store.url: port could not be cast"),
        (["up", URL, "--namespace", "A/B"], "store.namespace: "),
        (["up"], "pools: no backend is configured; give URLs"),
        (["monitor"], "pools: no backend is configured"),
        (["worker"], "pools: no backend is configured"),
        ([], "Missing command"),
        (["serve"], "'serve'"),
    ],
)  # fmt: skip
def test_a_command_line_that_is_wrong_is_said(say: Say, arguments: list[str], named: str):
    status, line = say(*arguments)
    assert status == 2
    assert named in line


@pytest.mark.parametrize("command", ["monitor", "worker"])
def test_a_part_alone_without_a_store_names_the_key(say: Say, command: str):
    status, line = say(command, "-c", "sidebeat.toml")
    assert status == 2
    assert "store.url: not set, and no store runs at" in line


@pytest.mark.parametrize("command", ["status", "keys"])
def test_a_look_at_what_does_not_run_says_so(say: Say, command: str):
    status, line = say(command)
    assert status == 1
    assert "store.url: not set, and no store runs at" in line


def test_a_directory_instead_of_a_file_is_said(folder: Path, say: Say):
    assert say("check", "-c", str(folder)) == (2, f"sidebeat: {folder}: is a directory")
