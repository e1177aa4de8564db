"""Logging in and out, and who one is."""

from importlib.metadata import version

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel, Field

from sidecar.console.access import Access, Client
from sidecar.console.rules import API
from sidecar.console.setting import Live


class Login(BaseModel):
    """The token."""

    token: str = Field(max_length=1_024)


class Session(BaseModel):
    """Whose console this is, and what you may do. ``token_file`` is told where reading is free, and there is one."""

    namespace: str
    version: str
    monitor: str
    may_read: bool
    may_write: bool
    token_file: str | None


def session_routes(live: Live, access: Access) -> APIRouter:
    """For everybody."""
    router = APIRouter(prefix="/api", tags=["session"])

    @router.get("/session")
    async def session(request: Request) -> Session:
        """Who you are here."""
        setting, may_read = live.setting, access.may_read(request)
        file = setting.token_file if may_read and setting.is_local else None
        return Session(
            namespace=setting.namespace,
            version=version("sidebeat"),
            monitor=setting.owner if may_read else "",
            may_read=may_read,
            may_write=access.may_write(request),
            token_file=str(file) if file else None,
        )

    @router.post("/login", status_code=204)
    async def login(body: Login, client: Client, response: Response) -> None:
        """Exchange the token for a cookie that lasts for `console.session_s`."""
        if not access.is_token(body.token, client):
            raise HTTPException(401, "this is not the token")
        # A browser sends a cookie to every port of a host; by its path, what else listens here sees less of it.
        response.set_cookie(
            access.cookie, access.new_session(), max_age=live.setting.section.session_s, path=API, httponly=True,
            samesite="strict",
        )  # fmt: skip

    @router.post("/logout", status_code=204)
    async def logout(response: Response) -> None:
        """Have the browser forget its cookie; a copy of it is good until it expires."""
        response.delete_cookie(access.cookie, path=API, httponly=True, samesite="strict")

    return router
