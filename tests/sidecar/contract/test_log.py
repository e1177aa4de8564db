"""The two forms of a log line: what a person reads, and what a machine does."""

import json
import logging
import sys

from sidecar.contract.events import Event, line
from sidecar.contract.log import JsonLines


def record(message: object, *args: object, failed: bool = False) -> logging.LogRecord:
    error = None
    if failed:
        try:
            raise OSError("no way")
        except OSError:
            error = sys.exc_info()
    made = logging.LogRecord("worker.follow", logging.WARNING, "", 1, message, args, error)
    made.created = 1_795_348_800.25
    return made


def test_an_event_is_text_in_logfmt():
    assert (
        line(Event.VERDICT, backend="b 1", to=None, ratio=0.5, why='"') == 'verdict backend="b 1" ratio=0.500 why="\\""'
    )


def test_an_event_as_json_has_its_fields_apart():
    said = json.loads(JsonLines().format(record(line(Event.VERDICT, backend="b\n1", ratio=0.5, gone=None, event_s=3))))
    assert said == {
        "time": "2026-11-22T12:00:00.250Z",
        "level": "WARNING",
        "logger": "worker.follow",
        "event": "verdict",
        "backend": "b\n1",
        "ratio": 0.5,
        "event_s": 3,
    }


def test_what_others_log_is_a_message():
    assert json.loads(JsonLines().format(record("%s is\n%s", "it", "so")))["message"] == "it is\nso"


def test_a_traceback_stays_on_the_line():
    text = JsonLines().format(record(line(Event.STOPPED), failed=True))
    assert "\n" not in text
    assert "no way" in json.loads(text)["exception"]
