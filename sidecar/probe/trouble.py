"""What an error of a probe means, in words for the person whose backend it is."""

import socket
import ssl
from collections.abc import Iterator

import httpcore
from websockets.exceptions import InvalidHandshake

from sidecar.contract.model import Address
from sidecar.verdict import Evidence


def trouble(error: Exception, status: int | None, address: Address) -> Evidence:
    """The failed probe that an error is; ``status`` is that of an answer which broke off, None before one."""
    causes = list(_leaves(error))
    if all(isinstance(cause, FileNotFoundError) for cause in causes):
        return Evidence(passed=False, reason=f"no socket at {address.path}", refused=True)
    if all(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return Evidence(passed=False, reason="connection refused", refused=True)
    if status is not None:
        return Evidence(passed=False, reason=f"HTTP {status}, but its body broke off")
    return Evidence(passed=False, reason=_reason(error, causes[0], address))


def in_words(error: Exception, address: Address) -> str:
    """What an error of a connection to there means."""
    return trouble(error, None, address).reason


def _reason(error: Exception, cause: BaseException, address: Address) -> str:
    if isinstance(cause, OSError):
        return _reason_of_system(cause, address)
    if isinstance(cause, EOFError) or (
        isinstance(error, httpcore.RemoteProtocolError) and "disconnected" in str(error)
    ):
        return "connection closed without an answer"
    if isinstance(error, httpcore.RemoteProtocolError | InvalidHandshake):
        return f"not an HTTP answer: {cause}"
    return f"{type(cause).__name__}: {cause}"


def _reason_of_system(cause: OSError, address: Address) -> str:
    match cause:
        case ssl.SSLError():
            told: str = getattr(cause, "verify_message", None) or cause.reason or str(cause)
            return f"TLS: {told.replace('_', ' ').lower()}"
        case socket.gaierror():
            return f"the name {address.host} is not known"
        case ConnectionResetError() | BrokenPipeError():
            return "connection reset"
        case _:
            return (cause.strerror or str(cause) or "timed out").lower()


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """What really happened: the ends of the cause chains, since httpcore always says "All connection attempts failed".

    A name with several addresses fails with a group of errors.
    """
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _leaves(member)
    elif isinstance(error, TimeoutError):  # below it is how anyio tells itself that the time is over
        yield error
    elif (cause := error.__cause__ or error.__context__) is not None:
        yield from _leaves(cause)
    else:
        yield error
