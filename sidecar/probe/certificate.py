"""When a certificate expires, read from its DER form. Pure.

``ssl`` decodes a certificate only where it was verified, and a backend whose certificate is not verified has one that
expires all the same.
"""

from datetime import UTC, datetime

_VERSION, _UTC_TIME, _GENERALIZED_TIME = 0xA0, 0x17, 0x18


def not_after(der: bytes) -> datetime:
    """The end of its validity (RFC 5280 §4.1).

    Raises:
        ValueError: it is not a certificate.
    """
    try:
        fields = _children(_children(der)[0][1])
        certificate = _children(fields[0][1])
        # version is optional; then serialNumber, signature, issuer, validity
        validity = certificate[4 if certificate[0][0] == _VERSION else 3][1]
        tag, text = _children(validity)[1]
        return _time(tag, text.decode("ascii"))
    except (IndexError, ValueError) as error:
        raise ValueError("not a certificate") from error


def days_left(der: bytes, now: datetime) -> int:
    """Whole days until it expires, below 0 once it has.

    Raises:
        ValueError: it is not a certificate.
    """
    return (not_after(der) - now).days


def _time(tag: int, text: str) -> datetime:
    """A date up to 2049 has two digits for its year, a later one four."""
    if tag == _UTC_TIME:
        century = "19" if text >= "50" else "20"
        text = century + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("not a time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _children(der: bytes) -> list[tuple[int, bytes]]:
    """The tag and content of each element that stands in these bytes."""
    children = []
    place = 0
    while place < len(der):
        tag, length, place = der[place], der[place + 1], place + 2
        if length >= 0x80:
            size = length & 0x7F
            length, place = int.from_bytes(der[place : place + size], "big"), place + size
        if place + length > len(der):
            raise ValueError("it breaks off")
        children.append((tag, der[place : place + length]))
        place += length
    return children
