"""A user's own httpx client as the way to the backends: with its authentication, its TLS and its headers."""

import httpx
from typing_extensions import override


class ByClient(httpx.AsyncBaseTransport):
    """Sends what a probe asks through a client, which stays its owner's; deadlines are the shorter of both."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url.copy_with(raw_path=request.extensions["target"])
        extensions = {"trace": request.extensions["trace"]}
        asked = self._client.build_request(request.method, url, extensions=extensions)
        return await self._client.send(asked, stream=True)
