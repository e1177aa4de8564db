"""Completion: the script that a shell is given, and what a real bash makes of it."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from published import publish
from redis_server import RedisServer
from sidecar.cli.commands import run
from sidecar.contract.connect import connect
from sidecar.contract.keys import PoolKeys
from sidecar.contract.model import Verdict
from waiting import eventually_sync

TRY = """
eval "$(sidebeat completion bash)"
try() { COMP_WORDS=(sidebeat "$@") COMP_CWORD=$# COMPREPLY=(); _sidebeat_completion sidebeat; echo "${COMPREPLY[*]}"; }
"""


def completed(*lines: str) -> list[str]:
    """What a real bash offers for the last word of each line, where every argument is an option or a word."""
    script = "\n".join([f"PATH={Path(sys.executable).parent}:$PATH", TRY, *(f"try {line}" for line in lines)])
    return subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True).stdout.splitlines()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_a_shell_offers_commands_and_the_backends_that_are_published(shared_redis: RedisServer, namespace: str):
    async def write() -> None:
        async with connect(shared_redis.url) as store:
            backend = Verdict(id="127.0.0.1:81", url="http://127.0.0.1:81")
            await publish(store, PoolKeys(namespace, "api@web-1"), backend)

    asyncio.run(write())
    place = f"--redis {shared_redis.url} --namespace {namespace}"
    offered = ["doctor", "api@web-1 api@web-1/127.0.0.1:81", ""]

    def are_offered() -> bool:
        return completed("do", f"events {place} api", "drain --redis unix:///nowhere/store.sock ap") == offered

    eventually_sync(are_offered, within=60)  # nothing is offered where it takes the store more than a second


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell: str, capsys: pytest.CaptureFixture[str]):
    assert run(["completion", shell]) == 0
    assert f"_SIDEBEAT_COMPLETE=complete_{shell}" in capsys.readouterr().out


def test_another_shell_is_wrong_use(capsys: pytest.CaptureFixture[str]):
    assert run(["completion", "tcsh"]) == 2
    assert "tcsh" in capsys.readouterr().err
