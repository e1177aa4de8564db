"""A user's own httpx client as the way to the backends: with its authentication, its TLS and its headers."""

from typing import cast

import httpcore
import httpx


class ByClient:
    """Sends what a probe asks through a client, which stays its owner's; deadlines are the shorter of both."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        """See ``Transport`` of the probes."""
        asked = self._client.build_request(
            request.method.decode(), _url(request.url), extensions={"trace": request.extensions["trace"]}
        )
        try:
            answer = await self._client.send(asked, stream=True)
        except httpx.RemoteProtocolError as error:
            raise httpcore.RemoteProtocolError(str(error)) from error
        return httpcore.Response(
            answer.status_code,
            headers=answer.headers.raw,
            content=cast("httpx.AsyncByteStream", answer.stream),
            extensions=answer.extensions,
        )


def _url(url: httpcore.URL) -> httpx.URL:
    """The same for httpx, which tidies the path, as the targets' is already."""
    where = httpx.URL(scheme=url.scheme.decode(), host=url.host.decode(), port=url.port)
    return where.copy_with(raw_path=url.target)
