"""Owns the null engine: Debian's nginx, which answers every chat completion at once with the same.

What a gateway in front of it costs is the gateway's own cost. It answers whole on one port, with
an event stream on the other, and groups of conversations on both.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import null_answers
from benchmarks.contestants.program import running
from tests.ports import free_port

_PROGRAMS = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
_MODULES = Path("/usr/lib/nginx/modules")
_LUA = ("ndk_http_module.so", "ngx_http_lua_module.so")
_MISSING = "no {} here: scripts/bench installs it as root, from Debian's {}"


@dataclass(frozen=True)
class NullEngine:
    """The base URLs of a running null engine."""

    whole_url: str
    stream_url: str


@contextmanager
def null_engine() -> Iterator[NullEngine]:
    """Run nginx for the length of a block; raises SystemExit where there is none."""
    program = find_nginx()
    whole, stream = free_port(), free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "nginx.conf"
        path.write_text(configuration(folder, whole, stream), encoding="utf-8")
        argv = [program, "-p", folder, "-e", folder / "error.log", "-c", path]
        with running(argv, os.environ, folder / "nginx.log") as nginx:
            nginx.wait_for(f"http://127.0.0.1:{stream}/health", 10)
            yield NullEngine(f"http://127.0.0.1:{whole}", f"http://127.0.0.1:{stream}")


def find_nginx() -> str:
    """Return the program; raises SystemExit when it or its Lua module is missing."""
    program = shutil.which("nginx", path=_PROGRAMS)
    if program is None:
        raise SystemExit(_MISSING.format("nginx", "nginx-light"))
    if not all((_MODULES / name).exists() for name in _LUA):
        raise SystemExit(_MISSING.format("Lua module of nginx", "libnginx-mod-http-lua"))
    return program


def configuration(folder: Path, whole_port: int, stream_port: int) -> str:
    """Return nginx's configuration, with everything that it writes inside `folder`."""
    modules = "".join(f"load_module {_MODULES / name};\n" for name in _LUA)
    # As root, nginx would run its worker as another user, who may not enter the folder.
    user = "user root;\n" if os.geteuid() == 0 else ""
    kept = "".join(
        f"    {name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""\
{modules}{user}daemon off;
worker_processes 1;
worker_rlimit_nofile 65536;
pid {folder}/pid;
error_log {folder}/error.log crit;
events {{ worker_connections 16384; multi_accept on; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 3600s;
    client_max_body_size 64m;
    client_body_buffer_size 1m;
{kept}    init_by_lua_block {{
{null_answers.LUA_TABLE}
    }}
{_server(whole_port, "application/json", null_answers.completion())}
{_server(stream_port, "text/event-stream", null_answers.events())}
}}
"""


def _server(port: int, content_type: str, answer: str) -> str:
    routes = (
        _route("/v1/chat/completions", content_type, answer),
        _route("/v1/models", "application/json", null_answers.models()),
        _route("/version", "application/json", null_answers.version()),
        _route("/health", "text/plain", ""),
        "location = /v1/chat/completions/batch { default_type application/json;"
        f" content_by_lua_block {{\n{null_answers.LUA_ANSWER}\n}} }}",
    )
    inner = "\n".join(f"        {route}" for route in routes)
    return f"    server {{\n        listen 127.0.0.1:{port} backlog=8192;\n{inner}\n    }}"


def _route(path: str, content_type: str, body: str) -> str:
    return f"location = {path} {{ default_type {content_type}; return 200 {quoted(body)}; }}"


def quoted(text: str) -> str:
    """Return a string of nginx's configuration language; it cannot spell a dollar sign."""
    if "$" in text:
        raise ValueError("nginx would take what follows the $ for a variable")
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
