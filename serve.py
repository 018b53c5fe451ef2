"""The service for whoever starts it with `uvicorn serve:app --host 0.0.0.0 --port 8000`.

The gateway's application, whose lifespan runs the engine beneath it. One worker only. It holds no
logic of its own: `python -m gateway` under supervisord.conf is the same service.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType

from starlette.applications import Starlette

from gateway import logs
from gateway.app import create_app
from gateway.files import raise_file_limit
from gateway.policy import PolicyError
from gateway.settings import SettingsError, load_settings
from launcher.standalone import engine_side

CANNOT_START = 3
REPOSITORY = Path(__file__).absolute().parent


class StopNotice:
    """Whether the server was told to stop: it tells its application only once all is over."""

    def __init__(self) -> None:
        self._is_given = False

    def is_given(self) -> bool:
        """Tell whether SIGTERM or SIGINT has come."""
        return self._is_given

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take note of the signals for the length of the block, and pass them on."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

        def note(number: int, frame: FrameType | None) -> None:
            self._is_given = True
            handler = previous[signal.Signals(number)]
            if callable(handler):
                handler(number, frame)

        for number in previous:
            signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def _create() -> Starlette:
    # The launcher runs in this folder, the server anywhere.
    state_file = os.environ.get("ENGINE_STATE_FILE") or "run/engine.json"
    os.environ["ENGINE_STATE_FILE"] = str(REPOSITORY / state_file)
    settings = load_settings()
    logs.set_up(settings.log_level, settings.log_format)
    stop = StopNotice()
    application = create_app(settings, file_limit=raise_file_limit(), is_stopping=stop.is_given)
    serving = application.router.lifespan_context

    @asynccontextmanager
    async def with_engine(app: Starlette) -> AsyncIterator[None]:
        with stop.listening():
            async with engine_side(REPOSITORY, os.environ), serving(app):
                yield

    application.router.lifespan_context = with_engine
    return application


try:
    app = _create()
except (SettingsError, PolicyError) as exc:
    print(f"serve: cannot start: {exc}", file=sys.stderr)
    sys.exit(CANNOT_START)
