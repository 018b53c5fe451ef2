"""What a fake engine has seen: the record it keeps and the test reads. Must not do I/O."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Stats:
    """Counts of chat completions and of connections; control and probes of it are not in it."""

    requests: int = 0
    running: int = 0
    peak_running: int = 0
    cancelled: int = 0
    """Requests whose client went away before the answer was whole."""
    by_prompt: dict[str, int] = field(default_factory=dict)
    last_body: dict[str, Any] = field(default_factory=dict)
    group_sizes: list[int] = field(default_factory=list)
    """Of the calls that held several conversations, how many; each counts as a request."""
    last_headers: dict[str, str] = field(default_factory=dict)
    """Names in lower case."""
    connections: int = 0
    peak_connections: int = 0
    accepted: int = 0
    """Connections since the start or the last reset."""
    working: int = 0
    """Running requests that are delayed or trickle: an engine at work, not a hung one."""
    iterations: int = 0
    generated_tokens: int = 0
    pid: int = 0
    children: list[int] = field(default_factory=list)
    argv: list[str] = field(default_factory=list)

    def begin(self, prompt: str, body: dict[str, Any], headers: dict[str, str]) -> None:
        """Record a request that arrived."""
        self.requests += 1
        self.running += 1
        self.peak_running = max(self.peak_running, self.running)
        self.by_prompt[prompt] = self.by_prompt.get(prompt, 0) + 1
        self.last_body = body
        self.last_headers = headers

    def generate(self, tokens: int) -> None:
        """Record one step of the engine."""
        self.iterations += 1
        self.generated_tokens += tokens

    def open_connection(self) -> None:
        """Record a connection that sent its first request."""
        self.accepted += 1
        self.connections += 1
        self.peak_connections = max(self.peak_connections, self.connections)

    def reset(self) -> None:
        """Forget everything but what is there right now and the engine's own counters."""
        self.requests = self.cancelled = self.accepted = 0
        self.peak_running = self.running
        self.peak_connections = self.connections
        self.by_prompt, self.last_body, self.last_headers = {}, {}, {}
        self.group_sizes = []

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON, without copying them."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
