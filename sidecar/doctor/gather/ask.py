"""One request, byte for byte, and how long the connection is then let rest: what a client library would tidy away.

Only the head of the answer counts; of what follows, a little is kept for whoever says in it what is wrong.
"""

import asyncio
import ssl
import time
from asyncio import StreamReader, StreamWriter
from contextlib import suppress

from sidecar.contract.model import Address
from sidecar.doctor.facts import Answer, Asked
from sidecar.probe import in_words

ANSWERS_WITHIN_S = 3.0
KEPT_BYTES = 4_096
MAX_HEAD_BYTES = 65_536
DOCTOR = "sidebeat-doctor"


def request(method: str, path: str, headers: list[tuple[str, str]]) -> bytes:
    """A request without a body."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"{method} {path} HTTP/1.1\r\n{fields}\r\n".encode()


async def ask(
    address: Address, sent: bytes, *, context: ssl.SSLContext | None = None, server_name: str | None = None,
    rest_s: float = 0.0,
) -> Asked:  # fmt: skip
    """What comes of it, within 3 s; then watch the connection rest for so long. Nothing sent: only connect."""
    try:
        async with asyncio.timeout(ANSWERS_WITHIN_S):
            reader, writer = await _connect(address, context, server_name)
    except TimeoutError:
        return Asked(trouble=f"no connection within {ANSWERS_WITHIN_S:g} s")
    except (OSError, ValueError) as error:  # a name that cannot be one is a UnicodeError
        return Asked(trouble=in_words(error, address))
    try:
        async with asyncio.timeout(ANSWERS_WITHIN_S):
            answer = await _answer(reader, writer, sent)
        return await _rested(reader, answer, rest_s if sent else 0.0)
    except TimeoutError:
        return Asked(trouble=f"no answer within {ANSWERS_WITHIN_S:g} s")
    except (OSError, EOFError, ValueError) as error:
        return Asked(trouble=in_words(error, address))
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


async def _connect(
    address: Address, context: ssl.SSLContext | None, server_name: str | None
) -> tuple[StreamReader, StreamWriter]:
    if address.path:
        return await asyncio.open_unix_connection(address.path, limit=MAX_HEAD_BYTES)
    name = (server_name or address.host) if context else None
    return await asyncio.open_connection(
        address.host, address.port, ssl=context, server_hostname=name, limit=MAX_HEAD_BYTES
    )


async def _answer(reader: StreamReader, writer: StreamWriter, sent: bytes) -> Answer:
    """The head of the last response: those before it say that it comes."""
    if not sent:
        return Answer(status=0)
    writer.write(sent)
    while (answer := parse_head(await _head(reader))).status < 200:
        pass
    return answer


async def _head(reader: StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise ValueError("its head has no end") from error


def parse_head(head: bytes) -> Answer:
    """The status and the fields.

    Raises:
        ValueError: it is no response.
    """
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdecimal():
        raise ValueError(f"not an HTTP answer: {first[:40]!r}")
    pairs = (line.partition(":") for line in lines if line)
    return Answer(status=int(rest[:3]), fields=tuple((name.lower(), value.strip()) for name, _, value in pairs))


async def _rested(reader: StreamReader, answer: Answer, rest_s: float) -> Asked:
    """Read on until nothing comes any more: a body first, then silence, or the end of the connection."""
    kept, began = bytearray(), time.monotonic()
    quiet_since, closed_after_s = began, None
    with suppress(TimeoutError, OSError):
        async with asyncio.timeout(max(rest_s, 0.2)):
            while part := await reader.read(KEPT_BYTES):
                kept += part[: KEPT_BYTES - len(kept)]
                quiet_since = time.monotonic()
            closed_after_s = time.monotonic() - quiet_since
    return Asked(
        answer=answer, body=kept.decode("utf-8", "replace"), closed_after_s=closed_after_s if rest_s else None,
        watched_s=rest_s,
    )  # fmt: skip
