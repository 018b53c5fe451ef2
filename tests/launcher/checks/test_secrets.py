from pathlib import Path

import pytest

from launcher.checks import secrets
from launcher.checks.result import Status
from launcher.settings import load_settings
from tests.launcher.checkouts import checkout, write

pytestmark = pytest.mark.anyio

# Put together here, so that this file holds none.
MODELSCOPE = "-".join(["ms", "01234567", "89ab", "cdef", "0123", "456789abcdef"])
LOOKALIKES = {
    "modelscope.txt": MODELSCOPE,
    "hf.py": "token = '" + "hf_" + "a" * 34 + "'",
    "github.sh": "gh" + "p_" + "a1" * 18,
    "key.pem": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "Dockerfile": "ENV MODELSCOPE_API_" + "TOKEN=0123456789-0123456789",
}


@pytest.mark.parametrize("name", LOOKALIKES)
async def test_what_looks_like_a_secret_is_found_by_its_place(tmp_path: Path, name: str) -> None:
    folder = checkout(tmp_path / "work", {name: f"first line\n{LOOKALIKES[name]}\n"})
    assert await secrets.find(folder, []) == [f"{name}:2"]


async def test_the_value_of_a_secret_setting_is_found_whatever_it_looks_like(
    tmp_path: Path,
) -> None:
    folder = checkout(tmp_path / "work", {"ünder/a b.txt": "x correct.horse x\n", "b": "horse"})
    settings = load_settings({"MODELSCOPE_API_TOKEN": "correct.horse", "ENGINE_API_KEY": "short"})
    assert secrets.values(settings) == ["correct.horse"]
    assert await secrets.find(folder, secrets.values(settings)) == ["ünder/a b.txt:1"]


async def test_references_to_a_secret_are_none(tmp_path: Path) -> None:
    lines = [
        "RUN --mount=type=secret,id=MODELSCOPE_API_TOKEN true",
        "ARG MODELSCOPE_API_TOKEN",
        'export MODELSCOPE_API_TOKEN="$(cat /run/secrets/token)"',
        "MODELSCOPE_API_TOKEN=...",
    ]
    folder = checkout(tmp_path / "work", {"Dockerfile": "\n".join(lines)})
    write(folder, {"untracked": MODELSCOPE})
    assert await secrets.find(folder, []) == []


async def test_this_repository_holds_none() -> None:
    folder = Path(__file__).parents[3]
    assert await secrets.find(folder, []) == []


def test_a_secret_is_a_failure_and_is_not_shown() -> None:
    row = secrets.check(["a.txt:2"], {"a.txt", "sub/.env"})
    assert row.status is Status.FAILURE
    assert row.observed == "a.txt:2, sub/.env (not shown)"
    assert "revoke" in row.advice


def test_files_without_secrets_are_ok() -> None:
    assert secrets.check([], {"a.txt"}).observed == "none in 1 tracked files"
    assert secrets.check(None, (), "no git").status is Status.SKIPPED
