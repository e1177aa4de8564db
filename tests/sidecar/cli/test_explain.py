"""How `sidebeat explain` ends where there is nothing to explain, and what a token is good for."""

import json
import os

import pytest

from sidecar.cli.commands import run
from sidecar.contract.config import parse
from sidecar.contract.token import issuing


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["explain"], 2, "METHOD URL is missing"),
        (["explain", "/x"], 1, "no workers of the namespace 'default' run here"),
        (["explain", "/x", "--admin", "nowhere"], 2, "--admin: 'nowhere' is not HOST:PORT"),
        (["explain", "/x", "--admin", "unix:/nowhere/a.sock"], 1, "the workers do not answer on unix:/nowhere/a.sock"),
        (["explain", "/x", "--from", "me"], 2, "--from: 'me' is no IP address"),
        (["explain", "--tokn"], 2, "(see `sidebeat explain --help`)"),
        (["explain", "--token", "GET", "/x"], 2, "a token is for any request"),
        (["explain", "--token", "--ttl", "0"], 2, "is not a time like 30s, 10m or 2h"),
        (["explain", "--token", "--ttl", "25h"], 2, "is not a time like 30s, 10m or 2h"),
        (["explain", "--token", "--ttl", "soon"], 2, "is not a time like 30s, 10m or 2h"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
):
    assert run(arguments) == status
    shown = capsys.readouterr()
    assert said in shown.err
    assert (shown.out, shown.err.count("\n")) == ("", 1)


@pytest.mark.parametrize("namespace", ["default", "shop"])
def test_a_token_is_for_one_namespace(namespace: str, capsys: pytest.CaptureFixture[str]):
    assert run(["explain", "--token", "--namespace", namespace, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["field"], told["ttl_s"]) == ("x-sidebeat-explain", 600)
    for each in ("default", "shop"):
        config = parse({"pools": {"api": {"backends": ["http://h:1"]}}, "store": {"namespace": each}}, {})
        assert issuing(config, os.environ).is_good(told["token"].encode()) is (each == namespace)
