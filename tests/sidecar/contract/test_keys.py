import pytest

from sidecar.contract.events import Event, line
from sidecar.contract.keys import MEANINGS, PoolKeys, console_token, meaning, pools_index, worker_member

KEYS = PoolKeys("default", "api@web-1")
ALL = [
    KEYS.view, KEYS.beat, KEYS.leader, KEYS.workers, KEYS.events, KEYS.admin, KEYS.backend("h:80"),
    KEYS.history("/run/a"), KEYS.worker(worker_member("h", "i", 3)),
]  # fmt: skip


def test_all_keys_of_a_pool_share_one_hash_tag():
    assert {key[key.index("{") : key.index("}") + 1] for key in [*ALL, KEYS.push, KEYS.suspect, KEYS.intents]} == {
        "{default:api@web-1}"
    }


@pytest.mark.parametrize("key", [*ALL, pools_index("default"), console_token("default")])
def test_every_key_has_a_line_for_people(key):
    assert meaning(key) in MEANINGS.values()


@pytest.mark.parametrize("key", ["view", "sidebeat:{default:api}:nonsense", "other:{x}:", ""])
def test_a_key_of_somebody_else_has_none(key):
    assert meaning(key) == ""


@pytest.mark.parametrize(
    ("value", "shown"),
    [("plain", "plain"), ("two words", '"two words"'), ('a"b', '"a\\"b"'), ("a\nb", "a\\nb"), ("", '""'),
     (1.23456, "1.235"), (7, "7")],
)  # fmt: skip
def test_a_log_line_stays_one_line_that_can_be_taken_apart(value, shown):
    assert line(Event.VERDICT, key=value) == f"verdict key={shown}"


def test_a_field_that_is_not_known_is_left_out():
    assert line(Event.VERDICT, a=None, b=1) == "verdict b=1"
