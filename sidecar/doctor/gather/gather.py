"""All that is gathered, side by side: what one backend takes to answer delays no other."""

import asyncio
import ssl
from asyncio import Semaphore, Task
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sidecar.contract.config import Config, Pool, Route, UpstreamTLS
from sidecar.contract.config.listen import Socket
from sidecar.contract.keys import PoolKeys
from sidecar.contract.model import Address, Backend
from sidecar.contract.whereabouts import without_password
from sidecar.doctor.facts import Asked, BackendFacts, Facts, StoreFacts
from sidecar.doctor.gather.ask import DOCTOR, ask, request
from sidecar.doctor.gather.machine import machine_facts
from sidecar.doctor.gather.store import store_facts, store_id
from sidecar.probe import own_headers, tls_context
from sidecar.running import find_process
from sidecar.status import Status, UnreadableError, read_status, store_at

AT_A_TIME = 32
"""Requests; they are one to each backend."""
ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 - to be reached at the loopback address


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """The system to look at. ``config`` None: only the store tells of it. ``rest_s``: see ``gather``."""

    url: str
    namespace: str
    config: Config | None
    environ: Mapping[str, str]
    rest_s: float = 0.0


async def gather(patient: Patient) -> Facts:
    """The facts: one request to each backend, whose connection is let rest for ``rest_s``, and one to each of ours."""
    store, status = await _store_and_status(patient)
    config = patient.config
    is_here = config is not None and _is_here(config, status, patient)
    before = await _store_ids(patient, status)
    gate = Semaphore(AT_A_TIME)
    async with asyncio.TaskGroup() as tasks:
        backends = [tasks.create_task(_of_backend(each, patient, gate)) for each in _questions(config)]
        ours = _endpoints(config, status) if config and is_here else ()
        endpoints = {name: tasks.create_task(ask(*question)) for name, question in ours}
        public = _through(config) if config and is_here else ()
        through = {name: tasks.create_task(ask(*question)) for name, question in public}
    after = await _store_ids(patient, status)
    return Facts(
        status=status,
        store=store,
        config=config,
        machine=machine_facts(patient.namespace, patient.environ),
        backends=tuple(task.result() for task in backends),
        endpoints=_results(endpoints),
        through=_results(through),
        store_ids={name: (before[name], after.get(name, "")) for name in before},
    )


async def _store_and_status(patient: Patient) -> tuple[StoreFacts, Status]:
    """What the store says of itself and of the system; that it says nothing is a fact, too."""
    names = [patient.config.key_name(name) for name in patient.config.pools] if patient.config else []
    try:
        return await store_facts(patient.url), await read_status(patient.url, patient.namespace, names)
    except UnreadableError as error:
        shown = without_password(patient.url)
        return StoreFacts(shown=shown, trouble=str(error)), Status(namespace=patient.namespace, now_ms=0)


def _is_here(config: Config, status: Status, patient: Patient) -> bool:
    """Whether workers of the system are on this machine: those of another one listen there."""
    reporting = (worker.host for pool in status.pools.values() for worker in pool.workers)
    return config.store.host in reporting or find_process(patient.namespace, patient.environ) is not None


def _results(tasks: Mapping[str, Task[Asked]]) -> dict[str, Asked]:
    return {name: task.result() for name, task in tasks.items()}


async def _store_ids(patient: Patient, status: Status) -> dict[str, str]:
    if not status.pools:
        return {}
    try:
        async with store_at(patient.url) as store:
            return {name: await store_id(store, PoolKeys(patient.namespace, name)) for name in status.pools}
    except UnreadableError:  # just now it was there
        return {}


def _questions(config: Config | None) -> Iterator[tuple[str, Pool, Backend]]:
    for name, pool in config.pools.items() if config else ():
        yield from ((name, pool, backend) for backend in pool.members)


async def _of_backend(question: tuple[str, Pool, Backend], patient: Patient, gate: Semaphore) -> BackendFacts:
    """What it answers to the request of its probe; where that is none of HTTP, whether it accepts a connection."""
    name, pool, backend = question
    check, sent = pool.health_check, b""
    if check.type == "http":
        headers = own_headers(backend, check, {"User-Agent": DOCTOR, "Accept": "*/*"})
        sent = request(check.method, check.path, headers)
    async with gate:
        try:
            context = _context(backend, pool.tls)
        except OSError as error:
            asked = Asked(trouble=f"pools.{name}.tls: {error}")
        else:
            server_name = pool.tls.server_name
            asked = await ask(backend.address, sent, context=context, server_name=server_name, rest_s=patient.rest_s)
    return BackendFacts(pool=name, backend=backend, check=check, asked=asked)


def _context(backend: Backend, tls: UpstreamTLS) -> ssl.SSLContext | None:
    return tls_context(tls) if backend.address.tls else None


def _endpoints(config: Config, status: Status) -> Iterator[tuple[str, tuple[Address, bytes]]]:
    """Ours; the console is where the monitor is that leads."""
    listen, host = config.listen, config.store.host
    yield from _endpoint("admin", listen.admin_socket, "/readyz")
    leads_here = any((pool.leader or "").partition(":")[0] == host for pool in status.pools.values())
    if config.console.enabled and leads_here:
        yield from _endpoint("console", listen.console_socket, "/livez")


def _endpoint(key: str, socket: Socket, path: str) -> Iterator[tuple[str, tuple[Address, bytes]]]:
    if socket.path or socket.port:
        address = _reachable(socket)
        yield f"{key} {socket}{path}", (address, _get(path, address.authority))


def _through(config: Config) -> Iterator[tuple[str, tuple[Address, bytes]]]:
    """For each pool that is probed by HTTP, a GET by its first route."""
    socket = next((each for each in config.listen.public_sockets if each.path or each.port), None)
    if socket is None:
        return
    for name, pool in config.pools.items():
        route = next((each for each in config.effective_routes if each.pool == name), None)
        if route is not None and pool.health_check.type == "http" and (not route.methods or "GET" in route.methods):
            address = _reachable(socket)
            yield name, (address, _get(_path(route, pool), route.host or address.authority))


def _path(route: Route, pool: Pool) -> str:
    path = pool.health_check.path
    if route.strip_prefix:
        return route.path_prefix.rstrip("/") + path
    return path if path.startswith(route.path_prefix) else route.path_prefix


def _get(path: str, host: str) -> bytes:
    return request("GET", path, [("Host", host), ("User-Agent", DOCTOR), ("Accept", "*/*"), ("Connection", "close")])


def _reachable(socket: Socket) -> Address:
    host = "127.0.0.1" if socket.host in ANYWHERE else socket.host
    return Address(tls=False, host=host, port=socket.port, path=socket.path)
