"""A ModelScope hub on loopback that speaks the routes its client asks, and can misbehave.

A real HTTP server in a thread: file listing, file content with Range, the region probe, and what an
upload needs (hub_uploads). What a test scripts (cuts, lies, refusals) is an attribute; what the
client sent is in `requests`.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

from tests.fakes import hub_uploads

_ROUTE = re.compile(r"/api/v1/models/(?P<model>[^/]+/[^/]+)/(?P<what>repo/files|repo)")


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    method: str = "GET"
    body: bytes = b""


@dataclass
class Hub:
    """Serves `files` as the one model `model_id`; use as a context manager."""

    model_id: str
    files: dict[str, bytes]
    revisions: tuple[str, ...] = ("master",)
    token: str | None = None  # asked of every request, when set
    refusal: int = 401  # the status for a wrong token
    listing_body: bytes | None = None  # instead of the listing
    cuts: dict[str, list[int]] = field(default_factory=dict)  # path → body bytes sent per attempt
    gone: set[str] = field(default_factory=set)  # listed, but 404 when asked for
    listings_left: int | None = None  # then the model is not there any more
    wrong_sha256: set[str] = field(default_factory=set)
    tells_sha256: bool = True
    wrong_size: set[str] = field(default_factory=set)
    claimed_bytes: dict[str, int] = field(default_factory=dict)  # in the listing, not in truth
    # Bytes of a file after which nothing more comes, though the connection stays.
    stalls: dict[str, int] = field(default_factory=dict)
    uploads: hub_uploads.Uploads = field(default_factory=hub_uploads.Uploads)
    requests: list[Asked] = field(default_factory=list)

    def __enter__(self) -> Hub:
        self._ended = Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def hold(self) -> None:
        """Return when the hub ends."""
        self._ended.wait()

    def downloads(self, path: str) -> list[Asked]:
        """The requests for the content of one file, in order."""
        return [asked for asked in self.requests if asked.query.get("FilePath") == path]

    def listing(self) -> bytes:
        if self.listing_body is not None:
            return self.listing_body
        entries = [self._entry(path, content) for path, content in self.files.items()]
        return json.dumps({"Code": 200, "Success": True, "Data": {"Files": entries}}).encode()

    def _entry(self, path: str, content: bytes) -> dict[str, object]:
        sha256 = hashlib.sha256(b"other" if path in self.wrong_sha256 else content).hexdigest()
        size = self.claimed_bytes.get(path, len(content) + (path in self.wrong_size))
        entry = {"Path": path, "Name": path, "Type": "blob", "Size": size}
        return entry | ({"Sha256": sha256} if self.tells_sha256 else {})


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            headers = {key.lower(): value for key, value in self.headers.items()}
            hub.requests.append(Asked(url.path, query, headers))
            route = _ROUTE.fullmatch(url.path)
            if hub.token and headers.get("authorization") != f"Bearer {hub.token}":
                self.refuse(hub.refusal, "token refused")
            elif url.path.endswith("/internalAccelerationInfo"):
                self.reply(200, b'{"Data": {}}')
            elif not route or route["model"] != hub.model_id or hub.uploads.is_missing:
                self.refuse(404, "no such model")
            elif query["Revision"] not in hub.revisions:
                self.refuse(404, "no such revision")
            elif route["what"] == "repo/files" and hub.listings_left == 0:
                self.refuse(404, "no such model")
            elif route["what"] == "repo/files":
                hub.listings_left = hub.listings_left and hub.listings_left - 1
                self.reply(200, hub.listing())
            elif query["FilePath"] in hub.gone:
                self.refuse(404, "no such file")
            else:
                self.send_file(query["FilePath"], headers.get("range"))

        def do_POST(self) -> None:
            self.take_upload("POST")

        def do_PUT(self) -> None:
            self.take_upload("PUT")

        def take_upload(self, method: str) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {key.lower(): value for key, value in self.headers.items()}
            hub.requests.append(Asked(self.path, {}, headers, method, body))
            if hub.token and headers.get("authorization") != f"Bearer {hub.token}":
                self.refuse(hub.refusal, "token refused")
                return
            status, answer = hub.uploads.answer(self.path, body, hub.url, hub.files)
            self.reply(status, json.dumps(answer).encode())

        def send_file(self, path: str, span: str | None) -> None:
            content = hub.files[path]
            start = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
            ranged = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            cuts = hub.cuts.get(path)
            stall = hub.stalls.get(path)
            self.reply(
                206 if span else 200,
                content[start:],
                ranged if span else {},
                cut_bytes=cuts.pop(0) if cuts else stall,
                waits=stall is not None,
            )

        def refuse(self, status: int, message: str) -> None:
            self.reply(status, json.dumps({"Code": status, "Message": message}).encode())

        def reply(
            self,
            status: int,
            body: bytes,
            headers: dict[str, str] | None = None,
            cut_bytes: int | None = None,
            waits: bool = False,
        ) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:cut_bytes])
            if waits:
                hub.hold()
            if cut_bytes is not None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
