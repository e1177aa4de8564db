"""The image and the compose file, as far as they can be checked without a container engine.

They are parsed, what they refer to must exist, and the commands they run are run on this machine, up to `--help`.
"""

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from processes import Program
from sidecar.contract.config import Config, load

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = ROOT / "compose"
CONFIG = COMPOSE / "sidebeat.toml"


@pytest.fixture(scope="module")
def loaded() -> Config:
    return load(CONFIG, {})


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
    return parsed


@pytest.fixture(scope="module")
def dockerfile() -> list[tuple[str, str]]:
    """Instructions and their arguments, in order."""
    text = re.sub(r"^#.*\n", "", (COMPOSE / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def last(dockerfile: list[tuple[str, str]], instruction: str) -> str:
    return [argument for name, argument in dockerfile if name == instruction][-1]


def assert_is_a_command(arguments: list[str]) -> None:
    """The CLI knows the command and every option: `--help` is reached only behind them."""
    with Program([sys.executable, "-P", "-m", "sidecar", *arguments, "--help"]) as program:
        assert program.wait(within=30) == 0, f"sidebeat {shlex.join(arguments)}: {program.stderr}"


def test_the_shared_config_loads(loaded: Config):
    assert [backend.id for backend in loaded.pools["api"].backends] == ["alpha", "bravo", "charlie"]


def test_the_image_is_small_unprivileged_and_stops_in_order(dockerfile: list[tuple[str, str]]):
    assert [argument for name, argument in dockerfile if name == "FROM"] == [
        "python:3.13-slim AS build",
        "python:3.13-slim",
    ]
    user = last(dockerfile, "USER")
    assert user.split(":") == ["65532", "65532"]
    assert last(dockerfile, "STOPSIGNAL") == "SIGTERM"


def test_what_the_image_copies_is_there(dockerfile: list[tuple[str, str]]):
    copied = [argument.split() for name, argument in dockerfile if name == "COPY" and not argument.startswith("--from")]
    missing = [source for *sources, _ in copied for source in sources if not (ROOT / source).exists()]
    assert copied
    assert not missing


def test_every_command_of_the_image_is_in_exec_form_and_real(dockerfile: list[tuple[str, str]]):
    assert json.loads(last(dockerfile, "ENTRYPOINT")) == ["sidebeat"]
    assert_is_a_command(json.loads(last(dockerfile, "CMD")))
    check = json.loads(last(dockerfile, "HEALTHCHECK").split("CMD", 1)[1])
    assert check[0] == "sidebeat"
    assert_is_a_command(check[1:])


@pytest.mark.parametrize("service", ["monitor", "worker"])
def test_every_command_of_a_service_is_real(compose: dict[str, Any], service: str):
    command = compose["services"][service]["command"]
    assert command[0] == service
    assert_is_a_command(command)


def test_the_config_is_mounted_where_the_commands_look(compose: dict[str, Any], dockerfile: list[tuple[str, str]]):
    places = [json.loads(last(dockerfile, "CMD"))[-1]]
    for name in ("monitor", "worker"):
        service = compose["services"][name]
        places.append(service["command"][-1])
        source, target, _ = service["volumes"][0].split(":")
        assert (COMPOSE / source).resolve() == CONFIG
        places.append(target)
    assert set(places) == {"/etc/sidebeat/sidebeat.toml"}


def test_the_worker_can_be_multiplied(compose: dict[str, Any]):
    worker = compose["services"]["worker"]
    assert "container_name" not in worker
    ports = re.fullmatch(r"127\.0\.0\.1:(\d+)-(\d+):8000", worker["ports"][0])
    assert ports
    assert int(ports[2]) - int(ports[1]) >= 3, "--scale worker=4 needs four host ports"


def test_a_container_is_given_time_to_drain(compose: dict[str, Any], loaded: Config):
    listen = loaded.listen
    needed_s = listen.drain_delay_s + listen.drain_timeout_s + 5  # gunicorn's graceful_timeout
    assert int(compose["services"]["worker"]["stop_grace_period"].removesuffix("s")) > needed_s


def test_everybody_waits_for_a_store_that_answers(compose: dict[str, Any], loaded: Config):
    services = compose["services"]
    assert services["redis"]["healthcheck"]["test"] == ["CMD", "redis-cli", "ping"]
    for name in ("monitor", "worker"):
        assert services[name]["depends_on"] == {"redis": {"condition": "service_healthy"}}
    assert loaded.store.url == "redis://redis:6379/0"


def test_every_backend_of_the_config_is_a_service_on_its_port(compose: dict[str, Any], loaded: Config):
    for backend in loaded.pools["api"].backends:
        service = compose["services"][backend.id]
        assert service["environment"]["DEMO_NAME"] == backend.id
        port = service["command"][service["command"].index("--port") + 1]
        assert str(backend.url) == f"http://{backend.id}:{port}"


def test_the_workers_readiness_is_asked_on_its_admin_address(compose: dict[str, Any], loaded: Config):
    check = compose["services"]["worker"]["healthcheck"]["test"]
    assert f"http://{loaded.listen.admin}/readyz" in check[-1]
    assert check[:3] == ["CMD", "python", "-c"]
    compile(check[-1], "healthcheck", "exec")


def test_the_demo_backends_run_the_app_they_mount(compose: dict[str, Any]):
    demo = compose["services"]["alpha"]
    source, target, _ = demo["volumes"][0].split(":")
    arguments = [*demo["entrypoint"], *demo["command"]]
    assert arguments[arguments.index("--app-dir") + 1] == target
    module, factory = arguments[arguments.index("--factory") + 1].split(":")
    code = f"import {module}; print({module}.{factory}().title)"
    path_first = "import sys; sys.path.insert(0, sys.argv[1])"
    with Program(
        [sys.executable, "-P", "-c", f"{path_first}; {code}", COMPOSE / source], env={"DEMO_NAME": "a"}
    ) as run:
        assert run.wait(within=30) == 0
        assert run.stdout == "sidebeat demo backend a\n"
