"""What a running system takes over of another config, and what comes out of the check in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sidecar.contract.config import parse
from sidecar.contract.config.change import PINNED, from_text, pinned, to_text
from sidecar.contract.config.listen import Listen, Store

FULL: dict[str, Any] = {
    "store": {"url": "redis://u:secret@127.0.0.1:1/0", "host": "web-1", "zone": "a"},
    "listen": {"bind": ["127.0.0.1:1", "unix:/a"], "trusted_proxies": ["10.0.0.0/8", "::1"], "max_headers": 9},
    "pools": {
        "api": {
            "backends": [
                "http://127.0.0.1:8081",
                {"url": "unix:/run/b.sock", "id": "b", "weight": 2, "max_inflight": 3},
            ],
            "health_check": {"interval_s": 0.1},
            "sticky": {"cookie": "home", "secret": "0123456789abcdef"},
            "balancing": {"policy": "rendezvous", "hash_on": "header:X-Who"},
        },
        "web": {"backends": ["https://a.test"], "health_check": {"path": "/up"}, "tls": {"verify": False}},
    },
    "routes": [{"pool": "api", "host": "a.test", "methods": ["GET"]}, {"pool": "web", "strip_prefix": True}],
}


def test_a_config_that_is_handed_on_is_the_same_config():
    config = parse(FULL, {})
    again = from_text(to_text(config))
    assert again == config
    assert again.pools["api"].health_check.is_lenient, "nobody said what to expect"
    assert not again.pools["web"].health_check.is_lenient


def test_what_is_pinned_is_named_and_nothing_else_is():
    before = parse(FULL, {})
    assert pinned(before, parse(FULL | {"routes": [{"pool": "web"}]}, {})) == []
    store = FULL["store"] | {"host": "web-2", "zone": "b"}
    listen = FULL["listen"] | {"workers": 7, "max_headers": 10, "trusted_proxies": []}
    assert pinned(before, parse(FULL | {"store": store, "listen": listen}, {})) == [
        "store.host: cannot change while it runs: end it and start it again",
        "listen.workers: cannot change while it runs: end it and start it again",
    ]


@pytest.mark.parametrize(("section", "model"), [("store", Store), ("listen", Listen)])
def test_every_pinned_key_is_a_key(section: str, model: type[Store] | type[Listen]):
    assert set(PINNED[section]) < set(model.model_fields)


def check(file: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "sidecar.contract.config", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environ, timeout=20)


def test_the_check_says_what_a_file_and_the_environment_come_to(tmp_path: Path):
    file = tmp_path / "sidebeat.toml"
    file.write_text('[pools.api]\nbackends = ["http://127.0.0.1:1"]\n')
    done = check(file, SIDEBEAT_LISTEN__MAX_HEADERS="9")
    assert (done.returncode, done.stderr) == (0, "")
    assert from_text(done.stdout).listen.max_headers == 9


def test_the_check_says_all_that_is_wrong_on_a_line_each(tmp_path: Path):
    file = tmp_path / "sidebeat.toml"
    file.write_text('[listen]\nworkerz = 1\n[pools.api]\nbackends = ["http://127.0.0.1:1"]\ntimeouts.idle_s = -1\n')
    done = check(file)
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["listen.workerz", "pools.api.timeouts.idle_s"]
