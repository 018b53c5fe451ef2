"""One question and its answer, from the engine or from the gateway, printed as it comes.

Answers go to stdout, all else to stderr. It must not read settings, arguments or standard input.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from launcher.errors import LauncherError

if TYPE_CHECKING:
    import openai

# Longer than the gateway's own deadline for a batch, so that its answer is seen, not ours.
GATEWAY_TIMEOUT_S = 400
MAX_MESSAGE_CHARS = 500


@dataclass
class Answer:
    """What has come so far of one answer, printed as it comes."""

    text: str = ""
    usage: Any = None
    finish_reason: str | None = None
    started_s: float = field(default_factory=time.perf_counter)
    first_s: float | None = None

    def take(self, message: Any) -> None:
        """Print one message, or one stretch of a streamed one."""
        for name in ("reasoning_content", "reasoning"):  # its name in older and newer engines
            if thought := getattr(message, name, None):
                self._print(dim(thought), sys.stderr)
        if message.content:
            self.text += message.content
            self._print(message.content, sys.stdout)

    def _print(self, text: str, file: Any) -> None:
        if self.first_s is None:
            self.first_s = time.perf_counter()
        print(text, end="", file=file, flush=True)

    def stats(self, *, is_stream: bool) -> str:
        """One line of figures, as far as the engine told them."""
        elapsed_s = time.perf_counter() - self.started_s
        parts = [f"{elapsed_s * 1000:.0f} ms"]
        if is_stream and self.first_s is not None:
            parts.append(f"ttft {(self.first_s - self.started_s) * 1000:.0f} ms")
        if self.usage is not None:
            tokens = self.usage.completion_tokens
            parts.append(f"{self.usage.prompt_tokens} prompt tokens")
            parts.append(f"{tokens} completion tokens")
            parts.append(f"{tokens / elapsed_s:.1f} tokens/s")
        parts.append(f"finish reason {self.finish_reason}")
        return ", ".join(parts)


@dataclass
class EngineTalk:
    """A conversation with the engine; it keeps what was said, stopped answers too."""

    client: openai.OpenAI
    url: str
    model: str
    system: list[dict[str, str]]
    options: dict[str, Any]
    is_stream: bool
    said: list[dict[str, str]] = field(default_factory=list)

    def ask(self, prompt: str) -> None:
        """Print the answer and what it took; raises LauncherError when it fails."""
        asked = [*self.said, {"role": "user", "content": prompt}]
        answer = Answer()
        try:
            with _explained(self.url, answer):
                self._receive([*self.system, *asked], answer)
            if answer.finish_reason is None:
                raise LauncherError(f"{self.url} ended its answer without saying why")
        finally:
            if answer.first_s is not None:
                print(flush=True)
            if answer.text:
                self.said = [*asked, {"role": "assistant", "content": answer.text}]
        note(answer.stats(is_stream=self.is_stream))

    def clear(self) -> None:
        """Forget what was said; the system prompt stays."""
        self.said = []

    def _receive(self, messages: list[Any], answer: Answer) -> None:
        create = self.client.chat.completions.create
        if not self.is_stream:
            whole: Any = create(model=self.model, messages=messages, **self.options)
            if isinstance(whole, str):  # what the package makes of a body that is not JSON
                raise LauncherError(f"{self.url} does not speak like an engine: {_cut(whole)}")
            answer.usage = whole.usage
            for choice in whole.choices:
                answer.finish_reason = choice.finish_reason
                answer.take(choice.message)
            return
        wanted = {"stream_options": {"include_usage": True}, **self.options}
        with create(model=self.model, messages=messages, stream=True, **wanted) as stream:
            for chunk in stream:
                answer.usage = chunk.usage or answer.usage
                for piece in chunk.choices:
                    answer.finish_reason = piece.finish_reason or answer.finish_reason
                    answer.take(piece.delta)


@dataclass
class GatewayTalk:
    """What an evaluator sends and gets, one prompt at a time, without memory."""

    url: str
    options: dict[str, Any]

    def ask(self, prompt: str) -> None:
        """Print the request, the response and the time between; raises LauncherError."""
        body = json.dumps({"prompt": prompt, **self.options}, ensure_ascii=False)
        note(f"POST {self.url}/predict {body}")
        started_s = time.perf_counter()
        status, answer = _post(self.url, body.encode())
        elapsed_ms = (time.perf_counter() - started_s) * 1000
        if status != 200:
            raise LauncherError(f"gateway answered {status}: {_error_message(answer)}")
        response = _field(answer, "response")
        print(response if isinstance(response, str) else answer, flush=True)
        note(f"{status}, {elapsed_ms:.0f} ms")

    def clear(self) -> None:
        """Nothing to forget."""


@contextmanager
def _explained(url: str, answer: Answer) -> Iterator[None]:
    """Turn what the openai package raises into one line of ours."""
    import openai

    try:
        yield
    except openai.APIStatusError as exc:
        reason = _error_message(exc.response.text)
        raise LauncherError(f"engine answered {exc.status_code}: {reason}") from exc
    except openai.APIConnectionError as exc:
        if answer.first_s is not None:
            raise LauncherError(f"engine broke off its answer: {exc.__cause__}") from exc
        raise LauncherError(
            f"engine does not answer on {url}: is it still starting? "
            "see supervisorctl -c supervisord.conf status"
        ) from exc
    except openai.APIError as exc:  # an error event in the middle of a stream
        raise LauncherError(f"engine failed: {exc.message}") from exc
    except ValueError as exc:  # an event that is not JSON
        raise LauncherError(f"{url} does not speak like an engine: {exc}") from exc


def _post(url: str, body: bytes) -> tuple[int, str]:
    """Post to the gateway past any proxy; status and body, whatever the status."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"{url}/predict", body, {"Content-Type": "application/json"})
    try:
        with opener.open(request, timeout=GATEWAY_TIMEOUT_S) as reply:
            return reply.status, reply.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode("utf-8", "replace")
    except (OSError, HTTPException) as exc:
        raise LauncherError(f"gateway does not answer on {url}: {exc}") from exc


def _error_message(body: str) -> str:
    """The message in an error body, as vLLM and the gateway nest it, as SGLang does not, or it."""
    error = _field(body, "error")
    message = error.get("message") if isinstance(error, dict) else _field(body, "message")
    return _cut(str(message or body))


def _cut(text: str) -> str:
    return (text.strip() or "nothing").splitlines()[0][:MAX_MESSAGE_CHARS]


def _field(body: str, name: str) -> Any:
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value.get(name) if isinstance(value, dict) else None


def note(text: str) -> None:
    """Say something beside the answers."""
    print(dim(text), file=sys.stderr, flush=True)


def dim(text: str) -> str:
    """Make a text less bright where stderr is a terminal that may show colour."""
    is_plain = not sys.stderr.isatty() or "NO_COLOR" in os.environ
    return text if is_plain else f"\x1b[2m{text}\x1b[0m"
