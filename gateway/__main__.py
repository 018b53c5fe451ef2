"""Starts the gateway: settings, open-file limit, socket, uvicorn. It holds no logic.

With --check it only reads the settings, and the files that they name.
Exit code 3: cannot start as configured; the reason is the one line on standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
from collections.abc import Sequence

import uvicorn

from gateway import logs
from gateway.app import create_app
from gateway.files import raise_file_limit
from gateway.policy import PolicyError
from gateway.protocol import BoundedProtocol
from gateway.settings import Settings, SettingsError, load_settings

CANNOT_START = 3
# A little over what a load balancer or an evaluator's client keeps a connection for.
CLIENT_KEEPALIVE_S = 75


def main(arguments: Sequence[str] = ()) -> int:
    """Run the gateway until it is told to stop; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gateway", description="Evalgate's gateway.")
    parser.add_argument("--check", action="store_true", help="only check the settings")
    is_check = parser.parse_args(arguments).check
    try:
        settings = load_settings()
        if is_check:
            create_app(settings)
            return 0
        logs.set_up(settings.log_level, settings.log_format)
        server = _server(settings, raise_file_limit())
        listener = bind(settings.gateway_host, settings.gateway_port)
    except (SettingsError, PolicyError, PortTaken) as exc:
        print(f"gateway: cannot start: {exc}", file=sys.stderr)
        return CANNOT_START
    # uvicorn ends in good order, then raises the signal that it was stopped by once more.
    with listener, contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    return 0


def _server(settings: Settings, file_limit: int) -> uvicorn.Server:
    app = create_app(
        settings,
        file_limit=file_limit,
        is_stopping=lambda: server.should_exit,
        on_ready=lambda: _tell_ready(settings),
    )
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=CLIENT_KEEPALIVE_S,
        # The fan-out cuts batches at the end of the grace period; what it returns must still leave.
        timeout_graceful_shutdown=int(settings.grace_period_s) + 3,
        backlog=4096,
    )
    server = uvicorn.Server(config)
    return server


def _tell_ready(settings: Settings) -> None:
    url = f"http://127.0.0.1:{settings.gateway_port}"
    line = f'  curl -s {url}/predict -d \'{{"prompt": "什么是warp？"}}\''
    with contextlib.suppress(OSError):  # whoever read it may be gone, which is no reason to end
        print(f"gateway: ready at {url}; try\n{line}", file=sys.stderr, flush=True)


class PortTaken(OSError):
    """The gateway's port cannot be had."""


def bind(host: str, port: int) -> socket.socket:
    """Claim the port without listening yet: connections are refused until uvicorn serves.

    Raises PortTaken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as exc:
        listener.close()
        raise PortTaken(
            f"GATEWAY_PORT={port}: {host}:{port} cannot be had: {exc.strerror}"
        ) from exc
    listener.set_inheritable(True)
    return listener


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
