"""The programs that are measured beside us, and the one that makes the load: found, or installed where we may."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from lab import KEPT, ROOT, LabError, say

NEEDED = {"wrk": "wrk", "nginx": "nginx", "haproxy": "haproxy"}
"""What we look for, and the Debian package that has it. Caddy is measured too where it is installed already."""
SEED = ("fastapi-reverse-proxy==0.2.0", "uvicorn", "uvloop", "httptools")
CONSTRAINTS = ROOT / "scripts" / "constraints.txt"


def find(name: str) -> str | None:
    """The path of a program; Debian keeps servers where users do not look."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin")


def need(names: set[str]) -> None:
    """Have these programs, by installing them if need be.

    Raises:
        LabError: they are not there and we may not install them; it says what to do.
    """
    missing = sorted(NEEDED[name] for name in names & NEEDED.keys() if find(name) is None)
    if not missing:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if shutil.which("apt-get") is None:
        raise LabError(f"install {', '.join(missing)} first")
    if os.geteuid() != 0:
        raise LabError(f"run `sudo {' '.join(command)}` first")
    say(f"installing {', '.join(missing)} with apt-get (where a service manager runs, servers are started as services)")
    _run(["apt-get", "update"])
    _run(command)


def seed_python() -> Path:
    """The Python of the environment that holds the seed and nothing of ours; made once, kept under .bench.

    Raises:
        LabError: it cannot be installed.
    """
    folder = KEPT / "seed"
    python, stamp = folder / "bin" / "python", folder / "complete"
    if stamp.exists():
        return python
    say(f"installing {SEED[0]} into .bench/seed")
    shutil.rmtree(folder, ignore_errors=True)
    packages = [*SEED, "-c", str(CONSTRAINTS), "--only-binary", ":all:"]
    if uv := shutil.which("uv"):
        steps = [
            [uv, "venv", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "--python", str(python), *packages],
        ]
    else:
        steps = [
            [sys.executable, "-m", "venv", str(folder)],
            [str(python), "-m", "pip", "install", "--disable-pip-version-check", *packages],
        ]
    for step in steps:
        _run(step)
    stamp.touch()
    return python


def _run(command: list[str]) -> None:
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"`{' '.join(command)}` failed:\n{(done.stderr or done.stdout)[-1000:]}")


def versions() -> str:
    """What is on this machine, in a line for below a table."""
    told = [f"Python {sys.version.split()[0]}"]
    for name, flag in (("nginx", "-v"), ("haproxy", "-v"), ("caddy", "version"), ("wrk", "-v")):
        if path := find(name):
            done = subprocess.run([path, flag], capture_output=True, text=True, check=False)
            told.append(_version(name, done.stdout + done.stderr))
    return ", ".join(told)


def _version(name: str, output: str) -> str:
    """The first word with a digit and a dot, without what a distribution adds."""
    words = output.replace("/", " ").split()
    number = next((word for word in words if "." in word and any(c.isdigit() for c in word)), "?")
    return f"{name} {number.removeprefix('v').split('-')[0]}"
