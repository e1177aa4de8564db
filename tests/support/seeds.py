"""The package whose import ours replaces, in both its versions, and programs written for it.

    with served(program, "uvicorn", folder, version="0.2.0", imports="worker", env=env) as server: ...

scripts/setup puts each version into a folder of its own. A program is run as it was written, or with ``worker`` for the
name in its imports and nothing else changed.
"""

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from processes import Program
from waiting import free_port

SEEDS = Path(sys.prefix, "seeds")
NAME = "fastapi_reverse_proxy"
OURS = "worker"
VERSIONS = ("0.2.0", "0.4.0")
SERVERS = {
    "uvicorn": ("uvicorn", "--port={port}", "program:app"),
    "hypercorn": ("hypercorn", "--bind=127.0.0.1:{port}", "program:app"),
    "gunicorn": ("gunicorn", "-k", "uvicorn_worker.UvicornWorker", "--bind=127.0.0.1:{port}", "program:app"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A program that runs; it serves some time after it was started."""

    port: int
    program: Program


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The same program on the real package and on ours, and what it was written for and runs under."""

    version: str
    server: str
    real: Served
    ours: Served


PAIRS = (("0.2.0", "uvicorn"), ("0.2.0", "hypercorn"), ("0.2.0", "gunicorn"), ("0.4.0", "uvicorn"))


def path_of(version: str) -> Path:
    """The folder that has one version to be on the path."""
    folder = SEEDS / version
    assert folder.is_dir(), f"{folder} is not there: ./scripts/setup makes it"
    return folder


def imported(version: str) -> ModuleType:
    """One version, under a name that says which, so that both are there at once."""
    alias = f"{NAME}_{version.replace('.', '_')}"
    if alias in sys.modules:
        return sys.modules[alias]
    folder = path_of(version) / NAME
    spec = importlib.util.spec_from_file_location(
        alias, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[alias] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def served(
    program: Path, server: str, folder: Path, *, version: str, imports: str, env: Mapping[str, str]
) -> Iterator[Served]:
    """A program under one of ``SERVERS``, on the version it was written for or, with ``imports`` ours, on us."""
    (folder / "program.py").write_text(program.read_text().replace(f"from {NAME} import", f"from {imports} import"))
    port = free_port()
    command = [sys.executable, "-m", *(part.format(port=port) for part in SERVERS[server])]
    path = {"PYTHONPATH": str(path_of(version)) if imports == NAME else None}
    with Program(command, cwd=folder, env={**env, **path}) as running:
        yield Served(port=port, program=running)
