"""Who may see how an answer came about: the bearer of a token that was issued for this namespace.

The secret may be made while workers run, and anew when its file was lost. So who bears a token that is not good has it
read again, though not more often than once a second, whoever asks how often.
"""

from collections.abc import Callable, Mapping

from sidecar.contract.config import Config
from sidecar.contract.token import Tokens, checking

LOOK_S = 1.0


class Permits:
    """A worker's knowledge of the secret."""

    def __init__(self, config: Config, environ: Mapping[str, str], clock: Callable[[], float]) -> None:
        """``clock`` is monotonic."""
        self._config = config
        self._environ = environ
        self._clock = clock
        self._tokens: Tokens | None = None
        self._look_at = clock()

    def use(self, config: Config) -> None:
        """Go by another config."""
        self._config = config
        self._tokens = None
        self._look_at = self._clock()

    def allow(self, token: bytes) -> bool:
        """Whether this token is good."""
        if self._tokens is not None and self._tokens.is_good(token):
            return True
        now = self._clock()
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_S
        try:
            self._tokens = checking(self._config, self._environ)
        except OSError:
            self._tokens = None  # who bears no good token is told nothing, and who issues one is told why
        return self._tokens is not None and self._tokens.is_good(token)
