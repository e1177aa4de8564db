"""Who asks: somebody with the token, somebody who has logged in with it, or anybody; and what each may do."""

import time
from collections.abc import Callable
from hmac import compare_digest
from math import ceil
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import APIKeyCookie, HTTPBearer

from sidecar.console.guesses import Guesses
from sidecar.console.rules import fields_of, is_direct
from sidecar.console.setting import Live
from sidecar.contract.token import Tokens

BEARER = HTTPBearer(auto_error=False, description="`console.token`, or what the token file holds.")
COOKIE = APIKeyCookie(name="sidebeat_<namespace>", auto_error=False, description="What `/api/login` gives.")
"""For the documentation: who asks is found by ``Access``."""
DOCUMENTED = [Depends(BEARER), Depends(COOKIE)]


class Access:
    """What a request may do under the setting of the moment. ``clock`` is monotonic, ``unix_s`` the wall clock's."""

    def __init__(
        self, live: Live, *, clock: Callable[[], float] = time.monotonic, unix_s: Callable[[], int] | None = None
    ) -> None:
        """``unix_s`` None: the system's."""
        self._live = live
        self._clock = clock
        self._unix_s = unix_s
        self._guesses = Guesses()

    @property
    def cookie(self) -> str:
        """The name of a session's cookie; another console on this machine has another."""
        return f"sidebeat_{self._live.setting.namespace}"

    def may_write(self, request: Request) -> bool:
        """Whether it bears the token, or comes of a session.

        Raises:
            HTTPException: it bears a wrong token after too many others.
        """
        if not hasattr(request.state, "may_write"):  # once: a wrong token is one guess
            request.state.may_write = self._bears_credentials(request)
        return bool(request.state.may_write)

    def _bears_credentials(self, request: Request) -> bool:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self.is_token(token.strip(), client_of(request))
        session = request.cookies.get(self.cookie, "")
        return bool(session) and self._sessions().is_good(session.encode())

    def may_read(self, request: Request) -> bool:
        """Whether it may write, or anybody on this machine may read and it comes from there."""
        is_free = self._live.setting.is_local and is_direct(fields_of(request.headers.raw))
        return is_free or self.may_write(request)

    def is_token(self, token: str, address: str) -> bool:
        """Whether it is the token in force; that it was not is remembered of the address.

        Raises:
            HTTPException: there were too many wrong ones; 429, which says for how long.
        """
        now = self._clock()
        if (wait_s := self._guesses.wait_s(address, now)) > 0:
            detail = "too many wrong tokens; wait a little"
            raise HTTPException(429, detail, headers={"Retry-After": str(ceil(wait_s))})
        if compare_digest(token.encode(), self._live.setting.token.encode()):
            return True
        self._guesses.wrong(address, now)
        return False

    def new_session(self) -> str:
        """A cookie's value, good for ``console.session_s``, as long as the token stays the same."""
        return self._sessions().issue(self._live.setting.section.session_s)

    def reader(self, request: Request) -> None:
        """A dependency of what shows something.

        Raises:
            HTTPException: 401, it may not read.
        """
        if not self.may_read(request):
            raise _unknown("read")

    def writer(self, request: Request) -> None:
        """A dependency of what changes something.

        Raises:
            HTTPException: 401, it may not write.
        """
        if not self.may_write(request):
            raise _unknown("change anything")

    def _sessions(self) -> Tokens:
        setting = self._live.setting
        return Tokens(setting.token, f"console {setting.namespace}", self._unix_s)


def client_of(request: Request) -> str:
    """Whose request it is; ``unix`` by a socket."""
    return request.client.host if request.client and request.client.host else "unix"


Client = Annotated[str, Depends(client_of)]


def _unknown(what: str) -> HTTPException:
    challenge = {"WWW-Authenticate": 'Bearer realm="sidebeat"'}  # RFC 6750 §3
    return HTTPException(401, f"log in with the token to {what}", headers=challenge)
