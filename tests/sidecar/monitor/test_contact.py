"""That the store is gone, and that it is back, is said once each."""

import pytest

from sidecar.contract.events import Event
from sidecar.monitor.contact import Contact


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("INFO")
    return caplog


def events(said: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().split()[0] for record in said.records]


def test_each_change_is_said_once(said: pytest.LogCaptureFixture):
    contact = Contact("redis://:secret@db:6379/0")
    for started in (1.0, 2.0):
        contact.worked(started)
    for now in (3.0, 4.0):
        contact.failed(ConnectionError("gone"), now)
    for started in (5.0, 6.0):
        contact.worked(started)
    assert events(said) == [Event.STORE_UP, Event.STORE_DOWN, Event.STORE_UP]
    assert "secret" not in said.text
    assert "db:6379" in said.text
    assert "ConnectionError: gone" in said.text


def test_an_answer_that_was_under_way_when_the_store_went_does_not_bring_it_back(said: pytest.LogCaptureFixture):
    contact = Contact("unix:///run/store.sock")
    contact.worked(1.0)
    contact.failed(ConnectionError("gone"), 3.0)
    contact.worked(2.9)
    assert events(said) == [Event.STORE_UP, Event.STORE_DOWN]
