"""`sidebeat explain`: what would become of a request, and why; or a token with which a real answer tells it."""

import json
import os
import re
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sidecar.cli.options import File, Json, Namespace
from sidecar.cli.trouble import FAILED, WRONG_USE, TroubleError

if TYPE_CHECKING:
    from http.client import HTTPConnection

    from sidecar.contract.config import Config
    from sidecar.contract.config.listen import Socket

PATIENCE_S = 5.0
_TTL = re.compile(r"(\d{1,6})([smh]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3_600}


def explain(
    *,
    method: Annotated[str | None, typer.Argument(help="GET, where only a URL is given.")] = None,
    url: Annotated[str | None, typer.Argument(help="http://HOST/PATH, or a path alone.")] = None,
    headers: Annotated[
        list[str] | None, typer.Option("-H", "--header", metavar="'K: V'", help="A field of the request.")
    ] = None,
    client: Annotated[str, typer.Option("--from", metavar="IP", help="Where it would come from.")] = "127.0.0.1",
    token: Annotated[
        bool,
        typer.Option(
            "--token", help="Print a token instead; answers to requests that have it in x-sidebeat-explain say it."
        ),
    ] = False,
    ttl: Annotated[str, typer.Option(metavar="10m", help="How long the token is good: s, m or h.")] = "10m",
    admin: Annotated[str | None, typer.Option(metavar="HOST:PORT|unix:PATH", help="Of which worker.")] = None,
    as_json: Json = False,
    file: File = None,
    namespace: Namespace = None,
) -> None:
    """Show where a request would go, and why."""
    if token:
        if method is not None:
            raise TroubleError(WRONG_USE, "--token: a token is for any request; none is to be named")
        _print_token(_seconds(ttl), file, namespace, as_json=as_json)
        return
    asked = _request(method, url) | {"header": headers or [], "client": _address(client)}
    told = _ask(_admin(admin, file, namespace), asked)
    if as_json:
        typer.echo(json.dumps(told, indent=2))
        return
    from sidecar.cli.explained import show_explanation

    try:
        show_explanation(told)
    except KeyError as error:
        raise TroubleError(
            FAILED, f"the workers are of another version: no {error} in their answer; --json shows it"
        ) from error


def _request(method: str | None, url: str | None) -> dict[str, Any]:
    """What was asked for; one word is a URL."""
    if method is None:
        raise TroubleError(WRONG_USE, "explain what? METHOD URL is missing, like: sidebeat explain GET /path")
    return {"method": "GET", "url": method} if url is None else {"method": method, "url": url}


def _address(text: str) -> str:
    """Where a request would come from.

    Raises:
        TroubleError: it is no IP address.
    """
    from ipaddress import ip_address

    try:
        return str(ip_address(text))
    except ValueError as error:
        raise TroubleError(WRONG_USE, f"--from: {text!r} is no IP address") from error


def _admin(address: str | None, file: Path | None, namespace: str | None) -> "Socket":
    """Where to ask: as it is said, else the workers that run on this machine, else as the file says.

    Raises:
        TroubleError: nobody runs here, and no file says where else.
    """
    from sidecar.cli.settle import namespace_of, read_config
    from sidecar.contract.config.listen import parse_socket
    from sidecar.contract.masters import find_masters

    if address is not None:
        try:
            return parse_socket(address)
        except ValueError as error:
            raise TroubleError(WRONG_USE, f"--admin: {error}") from error
    where = namespace_of(file, os.environ, {"--namespace": namespace})
    for master in find_masters(where, os.environ):
        if master.admin:
            return parse_socket(master.admin)
    if file is None:
        raise TroubleError(FAILED, f"no workers of the namespace {where!r} run here; say where: --admin, or -c FILE")
    return read_config(file, os.environ).listen.admin_socket


def _ask(admin: "Socket", asked: Mapping[str, Any]) -> dict[str, Any]:
    """The record.

    Raises:
        TroubleError: nobody answers there, or it can make no request of it.
    """
    from http.client import HTTPException
    from urllib.parse import urlencode

    try:
        with closing(_connection(admin)) as connection:
            connection.request("GET", f"/explain?{urlencode(asked, doseq=True)}")
            response = connection.getresponse()
            told: dict[str, Any] = json.load(response)
    except (OSError, HTTPException, ValueError) as error:
        from sidecar.contract.connect import plainly

        raise TroubleError(FAILED, f"the workers do not answer on {admin}: {plainly(error)}") from error
    if response.status != 200:
        raise TroubleError(WRONG_USE, f"{asked['method']} {asked['url']}: {told.get('error', told)}")
    return told


def _connection(admin: "Socket") -> "HTTPConnection":
    """A connection, made already where it is a unix socket's.

    Raises:
        OSError: nobody is there.
    """
    import socket
    from http.client import HTTPConnection

    connection = HTTPConnection(admin.host or "localhost", admin.port or None, timeout=PATIENCE_S)
    if admin.path:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(PATIENCE_S)
        try:
            connection.sock.connect(admin.path)
        except OSError:
            connection.close()
            raise
    return connection


def _print_token(ttl_s: int, file: Path | None, namespace: str | None, *, as_json: bool) -> None:
    from sidecar.contract.token import FIELD, issuing

    try:
        token = issuing(_config(file, namespace), os.environ).issue(ttl_s)
    except OSError as error:
        raise TroubleError(FAILED, f"no secret can be kept to sign it with: {error}") from error
    typer.echo(json.dumps({"field": FIELD, "token": token, "ttl_s": ttl_s}) if as_json else token)


def _config(file: Path | None, namespace: str | None) -> "Config":
    """That of the file, or of the workers that run here, whose secret it may have; else nothing but a namespace."""
    from sidecar.cli.settle import NO_POOL_NEEDED, namespace_of, read_config, with_flags
    from sidecar.contract.config import parse
    from sidecar.running import running_config

    flags = {"--namespace": namespace}
    if file is not None:
        return read_config(file, with_flags(os.environ, flags))
    where = namespace_of(None, os.environ, flags)
    return running_config(where, os.environ) or parse(NO_POOL_NEEDED | {"store": {"namespace": where}}, {})


def _seconds(text: str) -> int:
    """A length of time as it is written.

    Raises:
        TroubleError: it is none, or too long for a token.
    """
    from sidecar.contract.token import MAX_TTL_S

    match = _TTL.fullmatch(text)
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not 0 < seconds <= MAX_TTL_S:
        raise TroubleError(WRONG_USE, f"--ttl: {text!r} is not a time like 30s, 10m or 2h, up to 24h")
    return seconds
