"""The page's files, read once: what is not among them when the console starts is not served."""

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from fastapi import APIRouter, Request, Response

PAGE = Path(__file__).with_name("page")
INDEX = "index.html"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
"""Of every suffix that the page has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file, its media type, and a validator that is another for other content."""

    content: bytes
    media_type: str
    etag: str


def read_files(directory: Path) -> dict[str, File]:
    """All files in it and below, by path relative to it; none where there is no such directory."""
    return {path.relative_to(directory).as_posix(): _file(path) for path in directory.rglob("*") if path.is_file()}


def pages(directory: Path = PAGE) -> APIRouter:
    """Routes to all files; ``/`` is the index. To be asked last: the others come first."""
    files = read_files(directory)
    router = APIRouter(include_in_schema=False)

    @router.api_route("/{path:path}", methods=["GET", "HEAD"])
    async def file(path: str, request: Request) -> Response:
        found = files.get(path or INDEX)
        if found is None:
            return Response("there is no such page\n", 404, media_type=TYPES[".txt"])
        fields = {"ETag": found.etag, "Cache-Control": "no-cache"}  # to be asked for each time: a new version is seen
        if found.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=fields)
        return Response(found.content, media_type=found.media_type, headers=fields)

    return router


def _file(path: Path) -> File:
    content = path.read_bytes()
    etag = f'"{blake2b(content, digest_size=12).hexdigest()}"'
    return File(content=content, media_type=TYPES[path.suffix], etag=etag)
