"""Supervision, with small programs in place of the monitor and the workers; tests/process has the real ones."""

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from io import StringIO
from pathlib import Path

import pytest
from typing_extensions import override

from processes import Program, children, command_line, is_running
from redis_server import RedisServer
from sidecar.contract.config import Listen, parse
from sidecar.store import StoreError
from sidecar.up.keeper import Backoff
from sidecar.up.ports import AddressError, settle
from sidecar.up.supply import reach
from sidecar.up.tell import Progress, has_colour, in_double_quotes, opening, painted, redis_cli, whereabouts
from waiting import eventually_sync

UP = """
import asyncio, os, sys
from sidecar.contract.log import log_to_stderr
from sidecar.contract.config import parse
from sidecar.up import Commands, run

content = {
    "pools": {"api": {"backends": ["http://127.0.0.1:1"]}},
    "listen": {"bind": "127.0.0.1:0", "admin": "127.0.0.1:0", "drain_timeout_s": 1},
}
log_to_stderr()
monitor, worker = ((sys.executable, "-c", code, name) for code, name in zip(sys.argv[1:], ["monitor", "worker"]))
commands = Commands(monitor=monitor, worker=worker)
sys.exit(asyncio.run(run(parse(content, os.environ), os.environ, None, commands=commands)))
"""
OBEYS = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: (os.write(1, f"{sys.argv[1]} ends\\n".encode()), os._exit(0)))
os.write(1, f"{sys.argv[1]} begins as {os.getpid()}\\n".encode())
while True:
    signal.pause()
"""
HEEDS = """
import os, signal, sys
told = lambda *_: os.write(1, f"{sys.argv[1]} reloads\\n".encode())
signal.signal(signal.SIGHUP, told)
""" + OBEYS.removeprefix("\nimport os, signal, sys\n")
DEAF = OBEYS.replace("os._exit(0)", "0")
LEAVES_A_WORKER = f"""
import os, signal
if os.fork():
    exec({OBEYS!r})
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
os.write(1, f"left as {{os.getpid()}}\\n".encode())
signal.pause()
"""


def up(monitor: str = OBEYS, worker: str = OBEYS, **environ: str) -> Program:
    return Program([sys.executable, "-P", "-c", UP, monitor, worker], env=environ)


def pid_of(program: Program, name: str) -> int:
    return int(program.wait_for_line(rf"^{name} begins as (\d+)")[1])


def store_pid(program: Program) -> int:
    program.wait_for_line("^store .*ready")
    (pid,) = [child for child in children(program.pid) if "store.sock" in command_line(child)]
    return pid


def files(folder: str = "") -> list[str]:
    return [str(path) for path in Path(folder or os.environ["XDG_RUNTIME_DIR"]).rglob("*")]


@pytest.fixture(scope="module")
def life() -> Iterator[Program]:
    """One that was told to end when all of it was there, and of which nothing is left."""
    tells = "import os; [print(k, v, flush=True) for k, v in os.environ.items() if k.startswith('SIDEBEAT_')]\n" + OBEYS
    with tempfile.TemporaryDirectory(prefix="run-") as folder, up(worker=tells, XDG_RUNTIME_DIR=folder) as program:
        program.wait_for_line("^worker begins")
        program.wait_for_line("^monitor begins")
        program.wait_for_line("^waiting ")
        store = store_pid(program)
        program.terminate()
        assert program.wait() == 0
        assert not is_running(store)
        program.assert_nothing_left()
        assert files(folder) == []
        yield program


def test_it_ends_in_the_direction_of_the_traffic_and_leaves_nothing(life: Program):
    said = [line for line in life.stdout.splitlines() if "ends" in line or "ready after" in line]
    assert said[-2:] == ["worker ends", "monitor ends"]
    assert life.stdout.endswith("stopped  nothing of it runs any more\n")


def test_the_store_is_said_to_be_ready_before_anything_is_started(life: Program):
    first, second, *_ = life.stdout.splitlines()
    assert first.startswith("sidebeat ")
    assert second.startswith("store    ")


def test_nothing_it_says_has_colour(life: Program):
    assert "\x1b" not in life.output


def test_children_are_told_the_store_and_the_ports_that_were_chosen(life: Program):
    assert life.said(r"^SIDEBEAT_STORE__URL unix:///.*/sidebeat/default/store.sock$")
    told = life.said(r"^SIDEBEAT_LISTEN__BIND 127.0.0.1:(\d+)$")
    assert told
    assert int(told[1]) > 0
    assert life.said(rf"^proxy    http://127.0.0.1:{told[1]}$")


def test_a_hangup_without_a_terminal_asks_the_monitor_and_the_workers_for_a_reload():
    with up(monitor=HEEDS, worker=HEEDS) as program:
        program.wait_for_line("^worker begins")
        program.wait_for_line("^monitor begins")
        program.send(signal.SIGHUP)
        program.wait_for_line("^monitor reloads")
        program.wait_for_line("^worker reloads")
        assert program.status is None


# Runs a program on a terminal of its own, and hangs up when it is told to.
ON_A_TERMINAL = """
import os, pty, signal, sys
pid, terminal = pty.fork()
if not pid:
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
signal.signal(signal.SIGUSR1, lambda *_: os.close(terminal))
try:
    while said := os.read(terminal, 4096):
        os.write(1, said)
except OSError:
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_it_ends_when_its_terminal_is_gone():
    argv = [sys.executable, "-c", ON_A_TERMINAL, "-P", "-c", UP, HEEDS, HEEDS]
    with Program(argv) as program:
        program.wait_for_line("^worker begins")
        program.send(signal.SIGUSR1)
        assert program.wait() == 0
        program.assert_nothing_left()
        assert files() == []


def test_a_part_that_dies_is_started_again_and_the_others_do_not_notice():
    with up() as program:
        parts = {"worker": pid_of(program, "worker"), "monitor": pid_of(program, "monitor")}
        parts["store"] = store_pid(program)
        for part in ("monitor", "store"):
            os.kill(parts[part], signal.SIGKILL)
            program.wait_for_line(rf"child-died child={part} how=.was ended by SIGKILL. restart_in_s=0.100")
            parts[part] = int(program.wait_for_line(rf"restarting child={part} pid=(\d+)")[1])
            assert all(map(is_running, parts.values()))
        program.terminate()
        assert program.wait() == 0
        assert files() == []


def test_a_part_that_dies_again_and_again_is_started_later_and_later():
    with up(monitor="raise SystemExit(1)") as program:
        for delay in ("0.100", "0.200", "0.400"):
            program.wait_for_line(rf"child-died child=monitor .*exit status 1. restart_in_s={delay}")
        program.terminate()
        assert program.wait() == 0


def test_after_the_longest_delay_it_stays_and_a_life_resets_it():
    backoff = Backoff()
    assert [backoff.after(0.5) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert [backoff.after(lived) for lived in (10.0, 9.9, 60.0)] == [0.1, 0.2, 0.1]


@pytest.mark.parametrize(
    ("code", "status", "how"),
    [
        ("raise SystemExit(0)", 1, "ended with exit status 0"),
        ("raise SystemExit(3)", 1, "ended with exit status 3; what it said of that is above"),
        ("raise SystemExit(2)", 2, "ended with exit status 2; what it said of that is above"),
    ],
)
def test_the_end_of_the_master_is_the_end_of_all_with_its_reason_as_the_last_line(code: str, status: int, how: str):
    with up(worker=code) as program:
        assert program.wait() == status
        program.assert_nothing_left()
        assert program.stderr.splitlines()[-1].startswith("sidebeat up: the worker (gunicorn's master, pid ")
        assert program.stderr.splitlines()[-1].endswith(how)
        assert files() == []


def test_a_monitor_whose_config_was_broken_after_the_start_is_tried_on(tmp_path: Path):
    begun = f"import os, sys\nif os.path.exists({str(tmp_path / 'begun')!r}): sys.exit(2)\n"
    begun += f"open({str(tmp_path / 'begun')!r}, 'w').close()\n"
    with up(monitor=begun + OBEYS) as program:
        os.kill(pid_of(program, "monitor"), signal.SIGKILL)
        program.wait_for_line("child-died child=monitor .*exit status 2. restart_in_s=0.200")
        (tmp_path / "begun").unlink()
        program.wait_for_line(r"^monitor begins as (\d+)\n(.*\n)*monitor begins")


def test_a_monitor_that_does_not_accept_its_config_is_not_tried_again():
    with up(monitor="raise SystemExit(2)") as program:
        assert program.wait() == 2
        assert program.stderr.splitlines()[-1].startswith("sidebeat up: the monitor does not accept its config")
        program.assert_nothing_left()


def test_workers_of_a_master_that_was_killed_are_ended_too():
    with up(worker=LEAVES_A_WORKER) as program:
        left = int(program.wait_for_line(r"^left as (\d+)")[1])
        os.kill(pid_of(program, "worker"), signal.SIGKILL)
        assert program.wait() == 1
        assert not is_running(left)
        program.assert_nothing_left()
        assert program.stderr.splitlines()[-1].endswith("was ended by SIGKILL")
        assert files() == []


def test_a_master_that_does_not_end_is_ended_by_force_after_the_drain():
    with up(worker=DEAF) as program:
        program.wait_for_line("^worker begins")
        program.terminate()
        program.wait_for_line("draining for up to 1 s")
        program.wait_for_line("^worker ends")  # it was asked first
        assert program.wait() == 0
        program.assert_nothing_left()


def test_a_second_signal_hurries():
    with up(worker=DEAF, SIDEBEAT_LISTEN__DRAIN_TIMEOUT_S="60") as program:
        worker = pid_of(program, "worker")
        program.interrupt()
        program.wait_for_line("^worker ends")
        assert is_running(worker)
        program.interrupt()
        assert program.wait() == 0
        program.assert_nothing_left()


def test_kill_9_leaves_nothing_and_the_same_command_starts_again():
    with up() as program:
        program.wait_for_line("^worker begins")
        program.wait_for_line("^monitor begins")
        store = store_pid(program)
        program.kill()
        program.assert_nothing_left()
        # A server writes its title over its environment, so it is not found as a descendant once its parent is gone.
        eventually_sync(lambda: not is_running(store))
        assert not [path for path in files() if path.endswith(".sock")]
        assert {"monitor ends", "worker ends"} <= set(program.stdout.splitlines())
    with up() as program:
        program.wait_for_line("^worker begins")


def test_a_signal_while_it_waits_for_a_store_ends_it_at_once():
    with up(SIDEBEAT_STORE__URL="redis://127.0.0.1:1/0") as program:
        program.wait_for_line("^sidebeat ")
        program.interrupt()
        assert program.wait() == 0
        program.assert_nothing_left()


def test_a_store_that_cannot_be_reached_is_given_up_after_3_s():
    with up(SIDEBEAT_STORE__URL="redis://:secret@127.0.0.1:1/0") as program:
        program.wait_for_line("^sidebeat ")
        assert program.wait() == 1
        assert program.stderr == (
            "sidebeat up: --redis (store.url): redis://:***@127.0.0.1:1/0 does not answer within 3 s:"
            " connection refused\n"
        )
        assert "worker" not in program.stdout


async def test_a_store_that_hangs_is_given_up_too(redis_server: RedisServer):
    redis_server.pause()
    with pytest.raises(StoreError, match=r"does not answer within 3 s: "):
        await reach(redis_server.url)


async def test_a_store_that_does_not_let_us_in_is_not_asked_again(shared_redis: RedisServer):
    url = shared_redis.url.replace("unix://", "unix://ada:secret@")
    with pytest.raises(StoreError, match=r"unix://ada:\*\*\*@.* does not let us in: ") as caught:
        await reach(url)
    assert "secret" not in str(caught.value)


async def test_a_store_that_comes_up_in_time_is_waited_for(redis_server: RedisServer):
    await reach(redis_server.url)


def test_a_second_up_of_a_namespace_is_refused_and_the_first_goes_on():
    with up() as first:
        worker = pid_of(first, "worker")
        with up() as second:
            assert second.wait() == 1
            assert second.stderr.startswith(
                f"sidebeat up: another `sidebeat up` (pid {first.pid}) runs in the namespace"
            )
            assert len(second.stderr.splitlines()) == 1
            second.assert_nothing_left()
        with up(SIDEBEAT_STORE__NAMESPACE="other") as third:
            third.wait_for_line("^worker begins")
        assert is_running(worker)


def test_a_given_store_is_told_to_a_second_terminal_until_the_end(shared_redis: RedisServer):
    with up(SIDEBEAT_STORE__URL=shared_redis.url) as program:
        program.wait_for_line("^worker begins")
        address = Path(os.environ["XDG_RUNTIME_DIR"], "sidebeat/default/store.url")
        assert address.read_text() == shared_redis.url + "\n"
        program.terminate()
        assert program.wait() == 0
        assert files() == []


def test_somebody_elses_run_directory_is_refused_in_one_line(tmp_path: Path):
    (tmp_path / "sidebeat").mkdir(mode=0o755)
    with up(XDG_RUNTIME_DIR=str(tmp_path)) as program:
        assert program.wait() == 1
        assert program.stderr == f"sidebeat up: {tmp_path}/sidebeat is not a directory of yours with mode 0700\n"


def test_output_that_nobody_reads_any_more_ends_nothing():
    """After `sidebeat up | head -1` the traffic goes on."""
    loud = OBEYS.replace("os.write(1,", "os.write(2,")
    pipeline = ["/bin/sh", "-c", '"$@" | head -n 1', "sh", sys.executable, "-P", "-c", UP, loud, loud]
    with Program(pipeline) as program:
        program.wait_for_line("^sidebeat ")
        pid_of(program, "worker")
        os.kill(pid_of(program, "monitor"), signal.SIGKILL)
        program.wait_for_line("restarting child=monitor")
        (supervisor,) = [pid for pid, command in program.descendants().items() if "asyncio.run" in command]
        os.kill(supervisor, signal.SIGTERM)
        program.assert_nothing_left()
        assert "Traceback" not in program.stderr
        assert "BrokenPipe" not in program.stderr


@pytest.fixture
def held() -> Iterator[ExitStack]:
    """Where `settle` keeps what it was given by the system."""
    with ExitStack() as held:
        yield held


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.mark.parametrize("key", ["bind", "admin"])
def test_a_port_in_use_is_said_with_flag_and_key(taken: int, key: str, held: ExitStack):
    listen = Listen.model_validate({"bind": "127.0.0.1:0", "admin": "127.0.0.1:0", key: f"127.0.0.1:{taken}"})
    with pytest.raises(AddressError, match=rf"^--{key} \(listen\.{key}\): 127\.0\.0\.1:{taken} is in use$"):
        settle(listen, held)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("192.0.2.1:80", "is not an address of this machine"),
        ("no-such-host.invalid:80", "cannot be listened on: "),
        ("unix:/nonexistent/admin.sock", "lies in a directory that does not exist"),
    ],
)
def test_an_address_that_cannot_be_listened_on_is_said_in_words(address: str, reason: str, held: ExitStack):
    with pytest.raises(AddressError, match=reason):
        settle(Listen(bind="127.0.0.1:0", admin=address), held)


def test_a_port_that_a_dead_connection_still_holds_is_free(held: ExitStack):
    """TIME_WAIT: the same command must start again at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        server.accept()[0].close()
        client.recv(1)
        client.close()
    listen = Listen(bind=f"127.0.0.1:{port}", admin="127.0.0.1:0")
    assert settle(listen, held).bind == f"127.0.0.1:{port}"


def test_port_0_becomes_a_port_that_the_system_chose_and_that_is_kept_for_a_server_of_ours(held: ExitStack):
    zeros = Listen(bind=["127.0.0.1:0", "127.0.0.1:0"], admin="localhost:0", console="127.0.0.1:0")
    listen = settle(zeros, held)
    assert isinstance(listen.bind, list)
    for address in [*listen.public_sockets, listen.admin_socket, listen.console_socket]:
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", address.port))
        socket.create_server(("127.0.0.1", address.port)).close()


def test_a_stale_socket_is_free_and_a_live_one_and_a_file_are_not(tmp_path: Path, held: ExitStack):
    path = tmp_path / "admin.sock"
    listen = Listen(bind="127.0.0.1:0", admin=f"unix:{path}")
    assert settle(listen, held).admin == f"unix:{path}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        with pytest.raises(AddressError, match="is in use"):
            settle(listen, held)
    assert path.is_socket()
    assert settle(listen, held).admin == f"unix:{path}"
    path.unlink()
    path.touch()
    with pytest.raises(AddressError, match="is in use"):
        settle(listen, held)


def test_the_opening_names_proxy_admin_and_both_ways_to_the_keys():
    content = {
        "pools": {"api": {"backends": ["http://127.0.0.1:81"]}, "far": {"backends": ["http://10.0.0.1:80"]}},
        "routes": [{"pool": "api"}, {"pool": "far", "host": "far"}],
        "store": {"host": "web-1", "namespace": "blue"},
    }
    lines = list(
        opening(
            parse(content, {}),
            "unix:///run/a%20b/store.sock",
            found_by_itself=True,
            token_file=Path("/run/a/console.token"),
        )
    )
    assert lines[:5] == [
        "proxy    http://127.0.0.1:8000",
        "admin    http://127.0.0.1:9901",
        "console  http://127.0.0.1:9900; to change something there, log in with what is in /run/a/console.token",
        "keys     redis-cli -s '/run/a b/store.sock' HGETALL \"sidebeat:{blue:api@web-1}:backend:127.0.0.1:81\"",
        "keys     redis-cli -s '/run/a b/store.sock' HGETALL \"sidebeat:{blue:far}:backend:10.0.0.1:80\"",
    ]
    assert lines[5].endswith("sidebeat keys --namespace blue")
    assert "sidebeat top --namespace blue` watches it" in whereabouts(parse(content, {}))
    *_, last = opening(
        parse(content, {}), "redis://:secret@h/0", found_by_itself=False, token_file=Path("/run/a/console.token")
    )
    assert last.endswith("sidebeat keys --redis 'redis://:***@h/0' --namespace blue")


@pytest.mark.parametrize(
    ("url", "command"),
    [
        ("unix:///run/store.sock", "redis-cli -s /run/store.sock"),
        ("redis://h:6379/2", "redis-cli -u redis://h:6379/2"),
        ("redis://:secret@h:6379/2", "REDISCLI_AUTH=... redis-cli -u redis://h:6379/2"),
        ("redis://ada:secret@h/0", "REDISCLI_AUTH=... redis-cli -u redis://ada@h/0"),
    ],
)
def test_the_command_for_redis_cli_shows_no_password(url: str, command: str):
    assert redis_cli(url) == command


@pytest.mark.parametrize(
    ("key", "quoted"),
    [
        ("sidebeat:{default:api@h}:backend:/run/a b.sock", '"sidebeat:{default:api@h}:backend:/run/a b.sock"'),
        ("backend:/run/$HOME`x`.sock", "'backend:/run/$HOME`x`.sock'"),
    ],
)
def test_a_key_is_quoted_as_a_shell_takes_it(key: str, quoted: str):
    assert in_double_quotes(key) == quoted


def test_how_far_it_has_come_is_said_when_it_is_all_there_and_else_once_a_second():
    said: list[str] = []
    times = iter([10.0, 10.5, 11.0, 11.5, 12.1, 12.2])
    probes = Progress("probes", "backend", "probed", 3, said.append, clock=lambda: next(times))
    assert [probes.reached(number) for number in (1, 1, 2, 2, 3)] == [False, False, False, False, True]
    assert said == [
        "probes   1 of 3 backends probed",
        "probes   2 of 3 backends probed",
        "probes   3 of 3 backends probed",
    ]


class Screen(StringIO):
    @override
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environ", "has"),
    [
        (Screen(), {"TERM": "xterm"}, True),
        (Screen(), {"TERM": "xterm", "NO_COLOR": ""}, True),
        (Screen(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (Screen(), {"TERM": "dumb"}, False),
        (Screen(), {}, False),
        (StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_colour_is_for_a_terminal_whose_user_wants_it(stream: StringIO, environ: dict[str, str], has: bool):
    assert has_colour(stream, environ) == has
    assert painted("ready    3 of 3") == "\x1b[1;32mready\x1b[0m    3 of 3"
