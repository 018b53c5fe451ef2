"""The fake engine's routes and state: which rule applies to which request.

Must not know sockets, processes or what an action does.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any

from tests.fakes import answers
from tests.fakes.answers import Refusal
from tests.fakes.exchange import Exchange, GenerateExchange, GroupExchange, never, send_answer
from tests.fakes.faults import perform
from tests.fakes.kinds import KINDS, KindOfEngine, unknown_fields
from tests.fakes.script import Answer, Rule, Script
from tests.fakes.script_json import BadScript, from_json
from tests.fakes.stats import Stats
from tests.fakes.wire import Connection, Request

Work = Coroutine[None, None, None] | None
Route = Callable[[Request, Connection], Work]
DEFAULT_RULE = Rule(Answer())
DEFAULT_MODEL = "fake-model"


class Engine:
    """A vLLM server as far as its HTTP routes show it, doing what a script says.

    `model` and `max_model_len`, where given, win over every script's.
    """

    def __init__(
        self, script: Script, *, model: str | None = None, max_model_len: int | None = None
    ) -> None:
        self.stats = Stats(pid=os.getpid())
        self._model = model
        self._max_model_len = max_model_len
        self._started_at = time.monotonic()
        self._gate = asyncio.Event()
        self._ids: set[str] = set()
        self._ids_under_way: set[str] = set()
        self.use(script)
        self._controls: dict[tuple[str, str], Route] = {
            ("GET", "/_fake/stats"): self._show_stats,
            ("POST", "/_fake/reset_stats"): self._reset_stats,
            ("POST", "/_fake/script"): self._replace_script,
            ("POST", "/_fake/release"): self._release,
        }

    def _routes_of(self, kind: KindOfEngine) -> dict[tuple[str, str], Route]:
        """Return the routes that this kind of engine has."""
        routes: dict[tuple[str, str], Route] = {("GET", kind.health_path): self._health}
        if not kind.has_chat:
            return routes
        routes["POST", "/v1/chat/completions"] = self._chat
        if kind is KINDS["transformers"]:
            return routes
        routes["GET", "/v1/models"] = self._models
        routes["GET", "/metrics"] = self._metrics
        if kind.lists_models:
            routes["POST", "/v1/chat/completions/batch"] = self._chat_group
            routes["POST", "/tokenize"] = self._tokenize
            routes["POST", "/detokenize"] = self._detokenize
        return routes

    def use(self, script: Script) -> None:
        """Follow `script` from the next request on; the rules' `times` count anew."""
        self.script = dataclasses.replace(
            script,
            model=self._model or script.model,
            max_model_len=self._max_model_len or script.max_model_len,
        )
        self.kind = KINDS[script.kind]
        self._routes = self._routes_of(self.kind)
        self._left = [rule.times for rule in script.rules]
        self._resets_left = script.reset_on_reuse
        self._closes_left = script.close_on_reuse
        self._dice = random.Random(script.seed)

    def handle(self, request: Request, connection: Connection) -> Work:
        """Answer one request, at once or by the coroutine returned."""
        connection.idle_close_s = self.script.idle_close_s
        connection.idle_close_is_reset = self.script.idle_close == "reset"
        is_control = request.path.startswith("/_fake/")
        if not is_control and not connection.is_counted:
            connection.is_counted = True
            self.stats.open_connection()
        if not is_control and self._is_starting():
            self._refuse(connection, 503, "starting")
            return None
        routes = self._controls if is_control else self._routes
        route = routes.get((request.method, request.path))
        if route is None and request.path.endswith("/generate") and not self.kind.has_chat:
            route = self._generate
        if route is None:
            self._refuse(connection, 404, "Not Found")
            return None
        return route(request, connection)

    def connection_closed(self, connection: Connection) -> None:
        """Record that a connection is gone."""
        self.stats.connections -= connection.is_counted

    def _is_starting(self) -> bool:
        return time.monotonic() < self._started_at + self.script.startup_s

    def _health(self, request: Request, connection: Connection) -> Work:
        if self.script.health == "stall":
            return never()
        connection.respond(200 if self.script.health == "ok" else 503, b"")
        return None

    def _models(self, request: Request, connection: Connection) -> None:
        name = self.script.model or DEFAULT_MODEL
        card = {"id": name, "object": "model", "created": 0, "owned_by": "vllm", "root": name}
        if self.kind.lists_models:
            card["max_model_len"] = self.script.max_model_len
        _respond(connection, {"object": "list", "data": [card]})

    def _metrics(self, request: Request, connection: Connection) -> None:
        """A scrape moves the counters when a request is being worked on, as time would."""
        stats = self.stats
        if stats.working:
            stats.generate(stats.working)
        labels = f'{{engine="0",model_name="{self.script.model or DEFAULT_MODEL}"}}'
        values = {
            "num_requests_running": stats.running,
            "iteration_tokens_total_count": stats.iterations,
            "generation_tokens_total": stats.generated_tokens,
        }
        lines = [f"vllm:{name}{labels} {value:.1f}\n" for name, value in values.items()]
        connection.respond(200, "".join(lines).encode(), "text/plain; version=0.0.4")

    def _chat(self, request: Request, connection: Connection) -> Work:
        if request.is_reused and self._breaks_reused(connection):
            return None
        body = _json_object(request.body)
        if body is None or not isinstance(body.get("messages"), list):
            self._refuse(connection, 400, "the body must be JSON with a list of messages")
            return None
        if refusal := self._refusal(body) or self._confused(request):
            connection.respond(refusal.status, refusal.body, refusal.content_type)
            return None
        self.stats.begin(answers.last_user_message(body), body, request.headers)
        work = self._answer(Exchange(body, connection, *self._surroundings()))
        own = request.headers.get("x-request-id")
        return self._under_id(own, work) if work is not None and own is not None else work

    async def _under_id(self, own: str, work: Coroutine[Any, Any, None]) -> None:
        self._ids_under_way.add(own)
        try:
            await work
        finally:
            self._ids_under_way.discard(own)

    def _generate(self, request: Request, connection: Connection) -> Work:
        body = _json_object(request.body)
        if body is None or not isinstance(body.get("text_input"), str):
            self._refuse(connection, 400, "failed to parse the request JSON buffer")
            return None
        name = request.path.split("/")[3]
        if self.script.model and name != self.script.model:
            self._refuse(connection, 400, f"Request for unknown model: '{name}' is not found")
            return None
        given = {"role": "user", "content": body["text_input"]}
        chat = {**body, "model": name, "messages": [given]}
        if refusal := self._too_long(chat):
            connection.respond(refusal.status, refusal.body, refusal.content_type)
            return None
        self.stats.begin(body["text_input"], body, request.headers)
        return self._answer(GenerateExchange(chat, connection, *self._surroundings()))

    def _surroundings(self) -> tuple[int, Stats, random.Random, asyncio.Event, KindOfEngine]:
        return self.script.max_model_len, self.stats, self._dice, self._gate, self.kind

    def _refusal(self, body: dict[str, Any]) -> Refusal | None:
        """Return what the engine says to a request that it does not take."""
        name = body.get("model")
        if self.script.model and name != self.script.model:
            if self.kind is KINDS["transformers"]:
                told = f"Server is pinned to '{self.script.model}'; requested '{name}'."
                return self.kind.refuse(400, told)
            if self.kind is KINDS["vllm"]:
                return answers.refuse(404, f"The model `{name}` does not exist.", param="model")
            return self.kind.refuse(400, f"Unknown model: {name}")
        if unknown := unknown_fields(self.kind, body):
            return self.kind.refuse_fields(unknown)
        return self._too_long(body)

    def _confused(self, request: Request) -> Refusal | None:
        """Refuse an id that another call has, as far as the kind of engine minds."""
        own = request.headers.get("x-request-id")
        if own in self._ids_under_way and self.kind is KINDS["vllm"]:  # before its 0.14
            return self.kind.refuse(400, f"Request id chatcmpl-{own} already running.")
        # Two calls with one id were one to 5.23, whose batching died of it.
        if self.kind is not KINDS["transformers"] or own is None:
            return None
        if own in self._ids:
            return self.kind.refuse(500, "index out of range in self")
        self._ids.add(own)
        return None

    def _too_long(self, body: dict[str, Any]) -> Refusal | None:
        size = len(answers.prompt_text(body))
        return self.kind.limit(body, size, self.script.max_model_len)

    def _answer(self, exchange: Exchange) -> Work:
        rule = self._choose(answers.last_user_message(exchange.body))
        if isinstance(rule.action, Answer) and rule.after_s == 0:
            send_answer(exchange)  # the fast path: no task
            self.stats.running -= 1
            return None
        return self._work(rule, exchange)

    def _chat_group(self, request: Request, connection: Connection) -> Work:
        if not self.script.has_groups:
            self._refuse(connection, 404, "Not Found")
            return None
        body = _json_object(request.body) or {}
        conversations = body.get("messages")
        if body.get("stream") or not isinstance(conversations, list) or not conversations:
            self._refuse(connection, 400, "the body must be JSON with a list of conversations")
            return None
        bodies = [{**body, "messages": messages} for messages in conversations]
        prompts = [answers.last_user_message(each) for each in bodies]
        for prompt, each in zip(prompts, bodies, strict=True):
            self.stats.begin(prompt, each, request.headers)
        self.stats.group_sizes.append(len(bodies))
        rules = [self._choose(prompt) for prompt in prompts]
        index = next((at for at, rule in enumerate(rules) if rule is not DEFAULT_RULE), 0)
        exchange = GroupExchange(
            bodies[index],
            connection,
            *self._surroundings(),
            bodies,
            index,
        )
        return self._work(rules[index], exchange, len(bodies))

    async def _work(self, rule: Rule, exchange: Exchange, count: int = 1) -> None:
        try:
            await perform(rule, exchange)
        except asyncio.CancelledError:
            self.stats.cancelled += count
            raise
        finally:
            self.stats.running -= count

    def _choose(self, prompt: str) -> Rule:
        for index, rule in enumerate(self.script.rules):
            left = self._left[index]
            if rule.match not in prompt or left == 0:
                continue
            if left is not None:
                self._left[index] = left - 1
            return rule
        return DEFAULT_RULE

    def _breaks_reused(self, connection: Connection) -> bool:
        if self._resets_left > 0:
            self._resets_left -= 1
            connection.reset()
            return True
        if self._closes_left > 0:
            self._closes_left -= 1
            connection.close()
            return True
        return False

    def _tokenize(self, request: Request, connection: Connection) -> None:
        tokens = [ord(char) for char in answers.prompt_text(_json_object(request.body) or {})]
        fields = {"count": len(tokens), "max_model_len": self.script.max_model_len}
        _respond(connection, {**fields, "tokens": tokens, "token_strs": None})

    def _detokenize(self, request: Request, connection: Connection) -> None:
        tokens = (_json_object(request.body) or {}).get("tokens", [])
        _respond(connection, {"prompt": "".join(map(chr, tokens))})

    def _refuse(self, connection: Connection, status: int, message: str) -> None:
        refusal = self.kind.refuse(status, message)
        connection.respond(refusal.status, refusal.body, refusal.content_type)

    def _show_stats(self, request: Request, connection: Connection) -> None:
        _respond(connection, self.stats.to_dict())

    def _reset_stats(self, request: Request, connection: Connection) -> None:
        self.stats.reset()
        _respond(connection, {})

    def _replace_script(self, request: Request, connection: Connection) -> None:
        try:
            self.use(from_json(request.body))
        except BadScript as exc:
            self._refuse(connection, 400, str(exc))
        else:
            _respond(connection, {})

    def _release(self, request: Request, connection: Connection) -> None:
        """Let every held request go; later ones wait for the next release."""
        self._gate.set()
        self._gate = asyncio.Event()
        _respond(connection, {})


def _json_object(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _respond(connection: Connection, value: object) -> None:
    connection.respond(200, json.dumps(value).encode())
