import os
import re
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sidecar.contract.config import Listen, Socket
from worker.server.listeners import BindError, Listener, Role, address_of, bind_all


@contextmanager
def bound(**listen: object) -> Iterator[list[Listener]]:
    listeners = bind_all(Listen.model_validate({"admin": "127.0.0.1:0", "bind": "127.0.0.1:0", **listen}))
    try:
        yield listeners
    finally:
        for listener in listeners:
            listener.close()


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_every_public_address_and_then_the_admin_one_listens():
    with bound(bind=["127.0.0.1:0", "127.0.0.1:0"]) as listeners:
        assert [listener.role for listener in listeners] == [Role.PUBLIC, Role.PUBLIC, Role.ADMIN]
        for listener in listeners:
            assert listener.address.port
            socket.create_connection((listener.address.host, listener.address.port)).close()


@pytest.mark.parametrize(("key", "other"), [("bind", "admin"), ("admin", "bind")])
def test_a_port_in_use_is_named_with_its_key_in_one_line(taken: str, key: str, other: str):
    with pytest.raises(BindError, match=rf"^listen\.{key}: {re.escape(taken)} is in use$"), bound(**{key: taken}):
        pass


def test_one_of_several_addresses_is_named_by_its_place(taken: str):
    with pytest.raises(BindError, match=r"^listen\.bind\[1\]: "), bound(bind=["127.0.0.1:0", taken]):
        pass


def test_when_one_address_fails_none_is_kept(taken: str, tmp_path: Path):
    with pytest.raises(BindError), bound(bind=f"unix:{tmp_path}/s", admin=taken):
        pass
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("192.0.2.1:0", "is not an address of this machine"),
        ("no-such-host.invalid:0", "is not a host that is known here"),
        ("unix:/no/such/folder/s", "cannot be made: there is no such folder"),
        ("unix:/tmp/" + "s" * 120, "cannot be bound: AF_UNIX path too long"),
    ],
)
def test_an_address_that_cannot_be_bound_says_why(address: str, reason: str):
    with pytest.raises(BindError, match=rf"^listen\.bind: {re.escape(address)} {reason}$"), bound(bind=address):
        pass


def test_a_name_is_bound_on_its_ipv4_address():
    with bound(bind="localhost:0") as listeners:
        assert listeners[0].address.host == "127.0.0.1"


def test_a_unix_socket_is_for_its_owner_alone(tmp_path: Path):
    path = tmp_path / "s"
    mask = os.umask(0)
    try:
        with bound(bind=f"unix:{path}") as listeners:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert listeners[0].address == address_of(listeners[0].socket) == Socket(path=str(path))
            assert os.umask(0) == 0  # as it was before
    finally:
        os.umask(mask)
    assert not path.exists()


def test_a_unix_socket_that_a_killed_process_left_is_replaced(tmp_path: Path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    with bound(bind=f"unix:{path}"), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


@pytest.mark.parametrize("backlog", [8, 0])
def test_a_unix_socket_that_somebody_listens_on_is_refused_and_left_alone(tmp_path: Path, backlog: int):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as live, socket.socket(socket.AF_UNIX) as first:
        live.bind(str(path))
        live.listen(backlog)
        first.connect(str(path))  # a backlog of 0 is full now
        with pytest.raises(BindError, match=r"is in use$"), bound(bind=f"unix:{path}"):
            pass
        assert path.exists()


def test_a_file_in_the_place_of_a_unix_socket_is_refused_and_left_alone(tmp_path: Path):
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(BindError, match=r"is in the way: it is not a socket$"), bound(bind=f"unix:{path}"):
        pass
    assert path.read_text() == "precious"


def test_only_our_own_unix_socket_is_unlinked(tmp_path: Path):
    path = tmp_path / "s"
    with bound(bind=f"unix:{path}") as listeners, socket.socket(socket.AF_UNIX) as successor:
        path.rename(tmp_path / "moved")
        successor.bind(str(path))
        listeners[0].unlink()
        assert path.exists()
