"""The backends: nginx on two ports, or a slow one of our own where a backend has to be slow."""

import getpass
import os
import sys
from functools import partial
from pathlib import Path

from lab import Lab, Program, free_ports, serves
from tools import find

MIB = 1 << 20
BIG_MIB = 100
HELLO = "hello, world\n"

# A POST must be answered after its body was read; `return` does not wait for it, a mirrored request does. What comes
# next, the handler of static files, refuses POST to a file, and that refusal is turned into the answer.
_CONF = """
{user}worker_processes 1;
daemon off;
pid {folder}/origin.pid;
error_log {folder}/origin.error.log error;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    sendfile on;
    tcp_nopush on;
    client_body_buffer_size 1m;
    client_max_body_size 0;
    client_body_temp_path {folder}/origin-body;
    server {{
        listen 127.0.0.1:{ports[0]} backlog=4096;
        listen 127.0.0.1:{ports[1]} backlog=4096;
        root {root};
        location / {{ return 200 "{hello}"; }}
        location /distinct {{ add_header X-Request-Id $request_id; return 200 "{hello}"; }}
        location /files/ {{ }}
        location /upload {{ mirror /nowhere; error_page 405 =200 @done; }}
        location /nowhere {{ internal; return 204; }}
        location @done {{ return 200 "{hello}"; }}
    }}
}}
"""


def start_nginx(lab: Lab) -> tuple[int, int]:
    """Start it on the load's core; its two ports. ``/files/big`` and ``/files/m1`` are 100 MiB and 1 MiB in memory."""
    first, second = free_ports(2)
    _write_files(lab.memory_folder / "files")
    conf = lab.folder / "origin.conf"
    conf.write_text(
        _CONF.format(
            folder=lab.folder,
            root=lab.memory_folder,
            ports=(first, second),
            user=same_user(),
            hello=HELLO.replace("\n", "\\n"),
        )
    )
    command = [str(find("nginx")), "-p", str(lab.folder), "-c", str(conf)]
    _wait(lab.start("origin", command, core=lab.load_core), first, second)
    return first, second


def start_slow(lab: Lab) -> tuple[int, int]:
    """Start the slow one; its two ports."""
    first, second = free_ports(2)
    command = [sys.executable, str(Path(__file__).with_name("slow_origin.py")), str(first), str(second)]
    _wait(lab.start("slow-origin", command, core=lab.load_core), first, second)
    return first, second


def same_user() -> str:
    """The directive that keeps workers of nginx from becoming somebody who may not read our files."""
    return f"user {getpass.getuser()};\n" if os.geteuid() == 0 else ""


def _write_files(folder: Path) -> None:
    folder.mkdir()
    block = os.urandom(MIB)
    (folder / "m1").write_bytes(block)
    (folder.parent / "upload").touch()
    with (folder / "big").open("wb") as big:
        for _ in range(BIG_MIB):
            big.write(block)


def _wait(program: Program, *ports: int) -> None:
    for port in ports:
        program.wait_until(partial(serves, port))
