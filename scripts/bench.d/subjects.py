"""Who is measured: each proxy as its users start it, on one core, balancing over its backends.

All of them keep connections to backends alive, say who the client is (X-Forwarded-For, -Proto) and write no access
log. Those that can check health do so each second.
"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

from lab import Lab, Program, free_ports, say, serves
from origin import same_user
from tools import find, seed_python

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a subject's files go, where it listens, its backends' ports, and how many workers it has."""

    folder: Path
    port: int
    backends: tuple[int, ...]
    workers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How a subject is started. ``says``: what its log holds once all of it runs; None: it serves, that is enough."""

    command: list[str]
    environ: Mapping[str, str] = field(default_factory=dict)
    says: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A subject that runs."""

    name: str
    program: Program
    port: int


def start(lab: Lab, name: str, backends: tuple[int, int]) -> Proxy:
    """Start a subject with one worker on its core, and wait until it serves.

    Raises:
        LabError: it does not start.
    """
    return launch(lab, name, SUBJECTS[name], backends, workers=1)


def launch(lab: Lab, name: str, prepare: Callable[[Site], Start], backends: tuple[int, ...], *, workers: int) -> Proxy:
    """Start a subject as ``prepare`` says; else as ``start``."""
    folder = lab.folder / re.sub(r"[^a-z0-9_-]", "-", name)
    folder.mkdir()
    site = Site(folder=folder, port=free_ports(1)[0], backends=backends, workers=workers)
    how = prepare(site)
    program = lab.start(name, how.command, core=lab.proxy_core, environ=how.environ)
    program.wait_until(lambda: serves(site.port) and (how.says or "") in program.log.read_text(errors="replace"))
    return Proxy(name=name, program=program, port=site.port)


def available(wanted: list[str]) -> list[str]:
    """Those of the wanted that can be started here; stderr tells who cannot."""
    if "caddy" in wanted and find("caddy") is None:
        say("caddy is not installed, so it is not measured")
        return [name for name in wanted if name != "caddy"]
    return wanted


def balancer(name: str) -> Callable[[Site], Start]:
    """How a subject of ``balance`` is started: each of them knows on one core what all its workers have under way.

    ``name``: nginx, haproxy, or ``sidebeat POLICY`` with any number of ``+KEY=VALUE`` from its balancing table.
    """
    if name == "nginx":
        return lambda site: _nginx(site, buffering="off", balance="zone backends 256k; least_conn;")
    if name == "haproxy":
        return _haproxy
    policy, *settings = name.removeprefix("sidebeat ").split("+")
    return lambda site: sidebeat(site, balancing=[f'policy = "{policy}"', *settings])


def streamer(name: str) -> Callable[[Site], Start]:
    """How a subject of ``ws`` and ``sse`` is started; nginx has to be told to pass on an Upgrade."""
    told: dict[str, Callable[[Site], Start]] = {
        "nginx": lambda site: _nginx(site, buffering="off", connection="upgrade"),
        "seed as installed": lambda site: _seed(site, as_installed=True),
    }
    return told.get(name) or SUBJECTS[name]


def sidebeat(site: Site, *, app: str | None = None, balancing: Sequence[str] = ()) -> Start:
    """All of it, with its private store; its config is what ``command`` ends with. With an app: the ASGI lane."""
    admin, console = free_ports(2)
    urls = ", ".join(f'"http://127.0.0.1:{port}"' for port in site.backends)
    config = site.folder / "sidebeat.toml"
    config.write_text(
        dedent(f"""
            [store]
            namespace = "bench"
            [listen]
            bind = "127.0.0.1:{site.port}"
            admin = "127.0.0.1:{admin}"
            console = "127.0.0.1:{console}"
            workers = {site.workers}
            {f'app = "{app}"' if app else ""}
            [pools.bench]
            backends = [{urls}]
            [pools.bench.balancing]
        """)
        + "\n".join(balancing)
    )
    environ = {"XDG_RUNTIME_DIR": str(site.folder), "PYTHONPATH": str(HERE) if app else ""}
    command = [sys.executable, "-P", "-m", "sidecar", "up", "-c", str(config)]
    return Start(command=command, environ=environ, says="\nready ")


def _nginx(site: Site, *, buffering: str, balance: str = "", connection: str = "") -> Start:
    conf = site.folder / "nginx.conf"
    folder = site.folder
    servers = " ".join(f"server 127.0.0.1:{port};" for port in site.backends)
    conf.write_text(
        dedent(f"""
            {same_user()}worker_processes {site.workers};
            daemon off;
            pid {folder}/pid;
            error_log {folder}/error.log error;
            events {{ worker_connections 16384; }}
            http {{
                access_log off;
                keepalive_requests 1000000000;
                client_max_body_size 0;
                client_body_temp_path {folder}/body;
                proxy_temp_path {folder}/proxy;
                upstream backends {{
                    {balance}
                    {servers}
                    keepalive 256;
                    keepalive_requests 1000000000;
                }}
                server {{
                    listen 127.0.0.1:{site.port} backlog=4096;
                    location / {{
                        proxy_pass http://backends;
                        proxy_http_version 1.1;
                        proxy_set_header Connection "{connection}";
                        {"proxy_set_header Upgrade $http_upgrade;" if connection else ""}
                        proxy_set_header Host $http_host;
                        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                        proxy_set_header X-Forwarded-Proto $scheme;
                        proxy_buffering {buffering};
                        proxy_request_buffering {buffering};
                    }}
                }}
            }}
        """)
    )
    return Start(command=[str(find("nginx")), "-p", str(folder), "-c", str(conf)])


def _haproxy(site: Site) -> Start:
    conf = site.folder / "haproxy.cfg"
    conf.write_text(
        dedent(f"""
            global
                nbthread {site.workers}
                maxconn 8000
            defaults
                mode http
                timeout connect 1s
                timeout client 300s
                timeout server 300s
                option forwardfor
                http-reuse always
            frontend public
                bind 127.0.0.1:{site.port} backlog 4096
                http-request set-header X-Forwarded-Proto http
                default_backend bench
            backend bench
                balance leastconn
                option httpchk GET /
        """)
        + "".join(f"    server b{port} 127.0.0.1:{port} check inter 1s\n" for port in site.backends)
    )
    return Start(command=[str(find("haproxy")), "-db", "-f", str(conf)])


def _caddy(site: Site) -> Start:
    conf = site.folder / "Caddyfile"
    backends = " ".join(f"127.0.0.1:{port}" for port in site.backends)
    conf.write_text(
        dedent(f"""
            {{
                admin off
                auto_https off
            }}
            http://127.0.0.1:{site.port} {{
                bind 127.0.0.1
                reverse_proxy {backends} {{
                    lb_policy least_conn
                    health_uri /
                    health_interval 1s
                }}
            }}
        """)
    )
    environ = {"HOME": str(site.folder), "XDG_DATA_HOME": str(site.folder), "XDG_CONFIG_HOME": str(site.folder)}
    return Start(command=[str(find("caddy")), "run", "--config", str(conf), "--adapter", "caddyfile"], environ=environ)


def _seed(site: Site, *, as_installed: bool = False) -> Start:
    """As its page shows it, under the server that its page names; keep-alive as long as everybody's.

    ``as_installed``: with what the package brings along, and without the faster loop and parser that a user may add.
    """
    command = [str(seed_python()), "-m", "uvicorn", "seed_app:app", "--app-dir", str(HERE)]
    options = ["--port", str(site.port), "--no-access-log", "--timeout-keep-alive", "75", "--log-level", "warning"]
    options += ["--loop", "asyncio", "--http", "h11"] if as_installed else []
    backends = " ".join(f"http://127.0.0.1:{port}" for port in site.backends)
    return Start(command=[*command, *options], environ={"BACKENDS": backends, "PYTHONPATH": ""})


SUBJECTS: dict[str, Callable[[Site], Start]] = {
    "sidebeat": sidebeat,
    "sidebeat-asgi": lambda site: sidebeat(site, app="front_app:app"),
    "nginx": lambda site: _nginx(site, buffering="off"),
    "nginx-buffered": lambda site: _nginx(site, buffering="on"),
    "haproxy": _haproxy,
    "caddy": _caddy,
    "seed": _seed,
}
