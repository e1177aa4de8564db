"""Other people's HTTP clients, all of which do the same: a list of asks over one session, an outcome for each.

    [outcome] = await CLIENTS["curl"](f"http://127.0.0.1:{port}", [Ask(path="/")])

curl and node run as processes, requests in a thread: the loop that the test and the proxy share goes on.
"""

import asyncio
import base64
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import aiohttp
import httpx
import requests

from peers import FOLDER, program

PART = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request; ``chunked`` says that its body is sent without telling its length."""

    path: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    chunked: bool = False

    @property
    def parts(self) -> Iterator[bytes]:
        """The body in chunks."""
        return (self.body[start : start + PART] for start in range(0, len(self.body), PART))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a client made of the answer: the body decoded, ``error`` where it was not satisfied."""

    status: int = 0
    body: bytes = b""
    cookies: tuple[str, ...] = ()
    error: str = ""


Client = Callable[[str, Sequence[Ask]], Awaitable[list[Outcome]]]


async def with_httpx(url: str, asks: Sequence[Ask]) -> list[Outcome]:
    async def do(client: httpx.AsyncClient, ask: Ask) -> Outcome:
        try:
            answer = await client.request(ask.method, url + ask.path, headers=ask.headers, content=content(ask))
        except httpx.HTTPError as error:
            return Outcome(error=repr(error))
        cookies = answer.headers.get_list("set-cookie")
        return Outcome(status=answer.status_code, body=answer.content, cookies=tuple(cookies))

    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        return [await do(client, ask) for ask in asks]


async def with_aiohttp(url: str, asks: Sequence[Ask]) -> list[Outcome]:
    async def do(client: aiohttp.ClientSession, ask: Ask) -> Outcome:
        waits = "Expect" in ask.headers
        headers = {name: value for name, value in ask.headers.items() if name != "Expect"}
        try:
            data, method = content(ask), ask.method
            async with client.request(method, url + ask.path, headers=headers, data=data, expect100=waits) as answer:
                cookies = answer.headers.getall("Set-Cookie", [])
                return Outcome(status=answer.status, body=await answer.read(), cookies=tuple(cookies))
        except aiohttp.ClientError as error:
            return Outcome(error=repr(error))

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as client:
        return [await do(client, ask) for ask in asks]


def content(ask: Ask) -> bytes | AsyncIterator[bytes] | None:
    """The body as the asynchronous clients take it."""

    async def parts() -> AsyncIterator[bytes]:
        for part in ask.parts:
            yield part

    return parts() if ask.chunked else ask.body or None


async def with_requests(url: str, asks: Sequence[Ask]) -> list[Outcome]:
    def do(client: requests.Session, ask: Ask) -> Outcome:
        data = ask.parts if ask.chunked else ask.body or None
        try:
            answer = client.request(ask.method, url + ask.path, headers=ask.headers, data=data, timeout=10)
        except requests.RequestException as error:
            return Outcome(error=repr(error))
        cookies = answer.raw.headers.getlist("set-cookie")
        return Outcome(status=answer.status_code, body=answer.content, cookies=tuple(cookies))

    def do_all() -> list[Outcome]:
        with requests.Session() as client:
            client.trust_env = False
            return [do(client, ask) for ask in asks]

    return await asyncio.to_thread(do_all)


async def with_fetch(url: str, asks: Sequence[Ask]) -> list[Outcome]:
    """Node's own fetch, which is undici."""
    script = json.dumps([{**asdict(ask), "url": url + ask.path, "body": b64(ask.body)} for ask in asks])
    said = await output_of(program("node"), FOLDER / "fetch.mjs", stdin=script.encode())
    return [
        Outcome(
            status=each["status"],
            body=base64.b64decode(each["body"]),
            cookies=tuple(each["cookies"]),
            error=each["error"],
        )
        for each in json.loads(said)
    ]


async def with_curl(url: str, asks: Sequence[Ask]) -> list[Outcome]:
    """One curl, so that it can keep its connection: asks are told apart by ``--next``."""
    with tempfile.TemporaryDirectory(prefix="curl-") as directory:
        folder = Path(directory)
        arguments: list[str] = []
        for number, ask in enumerate(asks):
            arguments += ["--next"] if number else []
            arguments += curl_options(ask, folder, number)
            arguments.append(url + ask.path)
        said = await output_of(program("curl"), "--disable", *arguments)
        results = [json.loads(line) for line in said.splitlines()]
        return [curl_outcome(result, folder, number) for number, result in enumerate(results)]


def curl_options(ask: Ask, folder: Path, number: int) -> list[str]:
    (folder / f"{number}.in").write_bytes(ask.body)
    options = ["--silent", "--compressed", "--max-time", "10", "--expect100-timeout", "10", "--noproxy", "*"]
    options += [
        "--write-out",
        "%{json}\\n",
        "--output",
        str(folder / f"{number}.out"),
        "--dump-header",
        str(folder / f"{number}.head"),
    ]
    headers = {"Expect": "", **ask.headers} | ({"Transfer-Encoding": "chunked"} if ask.chunked else {})
    for name, value in headers.items():
        options += ["--header", f"{name}: {value}" if value else f"{name}:"]
    if ask.body:
        options += ["--data-binary", f"@{folder}/{number}.in", "--header", "Content-Type: text/plain"]
    return options + (["--head"] if ask.method == "HEAD" else ["--request", ask.method])


def curl_outcome(result: dict[str, object], folder: Path, number: int) -> Outcome:
    if result["exitcode"]:
        return Outcome(error=f"{result['exitcode']}: {result['errormsg']}")
    body, head = folder / f"{number}.out", (folder / f"{number}.head").read_text().splitlines()
    cookies = [line.partition(":")[2].strip() for line in head if line.lower().startswith("set-cookie:")]
    is_head = result["method"] == "HEAD"  # curl takes the head for what was asked for
    status = int(str(result["http_code"]))
    return Outcome(
        status=status,
        body=body.read_bytes() if body.exists() and not is_head else b"",
        cookies=tuple(cookies),
    )


async def output_of(*command: str | Path, stdin: bytes = b"") -> bytes:
    """What a program prints; it is killed when the test is over before it."""
    pipe = asyncio.subprocess.PIPE
    running = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    try:
        return (await running.communicate(stdin))[0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.kill()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


CLIENTS: dict[str, Client] = {
    "curl": with_curl,
    "httpx": with_httpx,
    "aiohttp": with_aiohttp,
    "requests": with_requests,
    "undici": with_fetch,
}
"""Every client that a user of ours is likely to have."""
