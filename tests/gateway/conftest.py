"""What the gateway's tests share: a clean environment and fake engines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from gateway.settings import Settings
from tests.fakes.running import FakeEngine
from tests.fakes.script import Script
from tests.gateway.serving import Gateway, serving, settings_for


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests reaches them."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="session")
def shared_engine() -> Iterator[FakeEngine]:
    with FakeEngine.start() as engine:
        yield engine


@pytest.fixture
async def engine(shared_engine: FakeEngine, anyio_backend: str) -> AsyncIterator[FakeEngine]:
    """A healthy engine that has seen nothing; for tests that do not end its process."""
    await shared_engine.set_script(Script())
    await shared_engine.wait_until(lambda stats: stats.running == 0)
    await shared_engine.reset_stats()
    yield shared_engine


@pytest.fixture
def own_engine() -> Iterator[Callable[[Script], FakeEngine]]:
    """Start an engine that this test alone has, and may kill."""
    started: list[FakeEngine] = []

    def start(script: Script) -> FakeEngine:
        started.append(FakeEngine.start(script))
        return started[-1]

    yield start
    for each in started:
        each.close()


# Not of the session: its event loop would outlive the module, and whatever else this worker tests
# would find one running.
@pytest.fixture(scope="module")
async def calm_gateway(anyio_backend: str) -> AsyncIterator[Gateway]:
    """A warm gateway on a healthy engine, for the tests that leave both as they are."""
    with FakeEngine.start() as engine:
        settings = settings_for(engine.url, health_interval_s=1, max_body_bytes=2**20)
        async with serving(settings) as gateway:
            yield gateway
