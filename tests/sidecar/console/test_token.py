"""The token that all monitors of a namespace agree upon."""

from pathlib import Path
from typing import Any

import pytest

from redis_server import RedisServer
from sidecar.console.token import agreed_token
from sidecar.contract.connect import connect
from sidecar.contract.keys import console_token
from sidecar.contract.secret import SIZE


@pytest.fixture
async def store(shared_redis: RedisServer):
    async with connect(shared_redis.url) as store:
        yield store


async def test_two_hosts_have_one_token_each_in_a_file_for_its_user_alone(store: Any, namespace: str, tmp_path: Path):
    one, other = tmp_path / "one", tmp_path / "other"
    token = await agreed_token(store, namespace, one)
    assert len(token) == SIZE
    assert await agreed_token(store, namespace, other) == token
    assert [(file.read_text(), file.stat().st_mode & 0o777) for file in (one, other)] == [(token, 0o600)] * 2


async def test_a_store_that_came_back_empty_is_given_the_token_that_there_was(
    store: Any, namespace: str, tmp_path: Path
):
    token = await agreed_token(store, namespace, tmp_path / "file")
    await store.delete(console_token(namespace))
    assert await agreed_token(store, namespace, tmp_path / "file") == token
    assert await agreed_token(store, namespace, tmp_path / "other") == token


@pytest.mark.parametrize("garbage", ["", "short", "\u00e9" * SIZE])
async def test_garbage_in_either_place_is_written_over(store: Any, namespace: str, tmp_path: Path, garbage: str):
    await store.set(console_token(namespace), garbage)
    token = await agreed_token(store, namespace, tmp_path / "file")
    assert token == await store.get(console_token(namespace)) != garbage
    (tmp_path / "file").write_text(garbage)
    assert await agreed_token(store, namespace, tmp_path / "file") == token
    assert (tmp_path / "file").read_text() == token


async def test_a_key_of_another_type_is_written_over(store: Any, namespace: str, tmp_path: Path):
    await store.hset(console_token(namespace), mapping={"a": "b"})
    token = await agreed_token(store, namespace, tmp_path / "file")
    assert await store.get(console_token(namespace)) == token
