"""The token that has an answer tell how it came about: signed, and good for a while.

Whoever bears one may see which backends there are, how they stand and who of them answered, and can change nothing. It
names nobody, and a copy of it is as good until it expires. It is good wherever the secret is the same: on the host that
keeps it in its run directory, or on all that have ``listen.explain_secret``; and for one namespace alone.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256

from itsdangerous import BadSignature, TimestampSigner
from typing_extensions import override

from sidecar.contract.config import Config
from sidecar.contract.rundir import make_run_directory
from sidecar.contract.secret import kept_secret, read_secret

FIELD = "x-sidebeat-explain"
"""The request field that bears a token, and the response field that has the record."""
FILE = "explain.secret"
MAX_TTL_S = 86_400
"""Nobody needs one for longer than a day, and a day is as long as a lost one may do harm."""


class Tokens:
    """Issues and checks the tokens of one namespace."""

    def __init__(self, secret: str, namespace: str, now: Callable[[], int] | None = None) -> None:
        """``now`` is the wall clock in whole seconds; None: the system's."""
        self._signer = _Signer(secret, namespace, now)

    def issue(self, ttl_s: int) -> str:
        """A token that is good for so long, from 1 s to ``MAX_TTL_S``."""
        return self._signer.sign(str(ttl_s)).decode()

    def is_good(self, token: bytes) -> bool:
        """Whether it was issued here, and is not over; compared in constant time. Anything may be asked."""
        try:
            ttl_s, signed_at = self._signer.unsign(token, max_age=MAX_TTL_S, return_timestamp=True)
        except BadSignature:  # an expired one is that, too
            return False
        return self._signer.age_s(signed_at) <= int(ttl_s)


class _Signer(TimestampSigner):
    """HMAC with SHA-256, and a key of its own for each namespace."""

    def __init__(self, secret: str, namespace: str, now: Callable[[], int] | None) -> None:
        super().__init__(secret, salt=f"sidebeat explain {namespace}", key_derivation="hmac", digest_method=sha256)
        self._now = now

    @override
    def get_timestamp(self) -> int:
        return super().get_timestamp() if self._now is None else self._now()

    def age_s(self, signed_at: datetime) -> float:
        return (datetime.fromtimestamp(self.get_timestamp(), tz=UTC) - signed_at).total_seconds()


def issuing(config: Config, environ: Mapping[str, str]) -> Tokens:
    """Tokens by the config's secret, or by that of this host, which is made if there is none.

    Raises:
        OSError: it cannot be kept or read.
    """
    namespace = config.store.namespace
    secret = config.listen.explain_secret
    return Tokens(secret or kept_secret(make_run_directory(namespace, environ) / FILE), namespace)


def checking(config: Config, environ: Mapping[str, str]) -> Tokens | None:
    """The same for who only checks; None where nobody has issued any on this host.

    Raises:
        OSError: the secret cannot be read, or may be somebody else's.
    """
    namespace = config.store.namespace
    if (secret := config.listen.explain_secret) is not None:
        return Tokens(secret, namespace)
    try:
        return Tokens(read_secret(make_run_directory(namespace, environ) / FILE), namespace)
    except FileNotFoundError:
        return None
