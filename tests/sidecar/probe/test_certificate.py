"""The end of a certificate's validity, read without the help of whoever verifies it."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.probe.certificate import days_left, not_after


def der(tag: int, *parts: bytes) -> bytes:
    """One element, with a long form of its length where that is needed."""
    content = b"".join(parts)
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    size = len(content).to_bytes(2, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content


def certificate_until(tag: int, end: bytes, *, version: bytes = der(0xA0, der(2, b"\2"))) -> bytes:
    """What a certificate has up to its validity."""
    validity = der(0x30, der(0x17, b"200101000000Z"), der(tag, end))
    issuer = der(0x30, b"\x31\0" * 100)
    return der(0x30, der(0x30, version, der(2, b"\1"), der(0x30), issuer, validity), der(0x30))


@pytest.mark.parametrize(
    ("tag", "text", "end"),
    [
        (0x17, b"260102030405Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (0x17, b"500101000000Z", datetime(1950, 1, 1, tzinfo=UTC)),
        (0x18, b"20510101000000Z", datetime(2051, 1, 1, tzinfo=UTC)),
    ],
)
def test_both_forms_of_a_date_are_read(tag: int, text: bytes, end: datetime):
    assert not_after(certificate_until(tag, text)) == end
    assert not_after(certificate_until(tag, text, version=b"")) == end


@pytest.mark.parametrize(("hours", "days"), [(47, 1), (23, 0), (-1, -1), (-25, -2)])
def test_days_are_whole_and_below_zero_once_it_has_expired(hours: int, days: int):
    end = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert days_left(certificate_until(0x17, b"260102030405Z"), end - timedelta(hours=hours)) == days


def test_a_real_certificate_is_read_as_openssl_reads_it(certificate: tuple[Path, Path]):
    cert, _ = certificate
    context = ssl.create_default_context(cafile=str(cert))
    (told,) = context.get_ca_certs()
    (raw,) = context.get_ca_certs(binary_form=True)
    assert not_after(raw).timestamp() == ssl.cert_time_to_seconds(str(told["notAfter"]))


@given(raw=st.binary() | st.binary().map(lambda part: der(0x30, der(0x30, part))))
def test_what_is_no_certificate_is_said_to_be_none(raw: bytes):
    with pytest.raises(ValueError, match="not a certificate"):
        not_after(raw)
