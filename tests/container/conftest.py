"""Fixtures of the image's tests, which are run only when asked for: `pytest -m container`."""

from __future__ import annotations

import math
import os
import sys

import pytest

from tests.container import tools
from tests.container.base_image import ensure_base
from tests.container.building import Build, build, table

NAME = "localhost/evalgate:container-test"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave them out unless they are named: they need root, gigabytes and many minutes."""
    if "container" in str(config.getoption("markexpr")):
        return
    kept = [item for item in items if item.get_closest_marker("container") is None]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


@pytest.fixture(scope="session")
def base() -> str:
    """The image that the Dockerfile is built on."""
    lacking = tools.missing()
    assert not lacking, f"{', '.join(lacking)} missing: run scripts/container-test"
    assert os.geteuid() == 0, "buildah and podman need root here"
    return ensure_base()


@pytest.fixture(scope="session")
def image(base: str) -> Build:
    """The image as an evaluator gets it: built from nothing but its base.

    EVALGATE_TEST_IMAGE names one that is there already; how it was built cannot be told then.
    """
    if name := os.environ.get("EVALGATE_TEST_IMAGE"):
        return Build(name, math.nan, (), "")
    built = build(NAME, base, {}, is_fresh=True)
    tools.prune()
    print(f"\n{table(built)}", file=sys.stderr)
    return built
