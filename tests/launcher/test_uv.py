"""Environments that uv installs: fetched once, told what pip is told, and pip where it fails.

uv is a stand-in that keeps a record: scripts/test itself is installed by the real one.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pip
import pytest

from launcher.errors import LauncherError
from launcher.uv import Uv
from launcher.virtualenv import Recipe, ensure
from tests.fakes.interpreters import executable, only_wheels_from, stand_in, write_wheel

RECORD = 'env | grep -E "^(UV|SSL)_" | sort >"$RECORD.environ" && echo "$*" >>"$RECORD"'
UV = f"uv-{platform.machine()}"
AS_PIP = "--index-strategy unsafe-best-match"


class Bench:
    """A cache, a recipe, and what the stand-in for uv was started with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"
        self.link = folder / ".venv"
        self.record = folder / "record"
        self.requirements = folder / "requirements.txt"
        self.requirements.write_text("tiny==1.0\n")
        self.python = stand_in(folder / "python")
        self.recipe = Recipe(self.python.path, (self.requirements,))

    def put_uv(self, script: str = RECORD) -> None:
        executable(self.cache / UV / "bin" / "uv", script)
        (self.cache / UV / "pip").symlink_to(Path(pip.__file__).parent)

    def build(self, recipe: Recipe | None = None) -> Path:
        return ensure(self.link, recipe or self.recipe, self.cache)

    def calls(self) -> list[str]:
        return self.record.read_text().splitlines()

    def environ(self) -> set[str]:
        return set(self.record.with_name("record.environ").read_text().splitlines())

    def installed(self) -> set[str]:
        ask = "import importlib.metadata as m; print(*(d.name for d in m.distributions()))"
        argv = [str(self.link / "bin" / "python"), "-c", ask]
        return set(subprocess.check_output(argv, text=True).split())


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    write_wheel(folder, "tiny", "1.0")
    return folder


@pytest.fixture
def bench(tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    with only_wheels_from(wheels):
        for name in [*(name for name in os.environ if name.startswith("UV_")), "PIP_NO_CACHE_DIR"]:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("RECORD", str(bench.record))
        yield bench


def test_uv_is_told_what_pip_is_told(
    bench: Bench, wheels: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    bench.put_uv()
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://me:secret@index.example/simple")
    monkeypatch.setenv("PIP_CERT", "/ca.pem")
    index = ("--extra-index-url", "https://torch.example/cpu")
    bench.build(replace(bench.recipe, pip_arguments=index, remove=("unwanted", "other")))
    folder = bench.link.readlink()
    assert bench.calls() == [
        f"pip install --python {folder}/bin/python {AS_PIP} --no-index"
        f" --index https://torch.example/cpu -r {bench.requirements} pip",
        f"pip uninstall --python {folder}/bin/python unwanted other",
    ]
    assert bench.python.calls("-m venv") == [f"-m venv {folder} --without-pip"]
    assert "pip installs" not in capfd.readouterr().err
    bench.record.unlink()
    bench.build()
    assert bench.environ() >= {
        f"UV_FIND_LINKS={wheels}",
        "UV_EXTRA_INDEX_URL=https://me:secret@index.example/simple",
        "SSL_CERT_FILE=/ca.pem",
        f"UV_CACHE_DIR={bench.cache / 'uv-cache'}",
    }


def test_a_cache_of_ones_own_for_uv_is_used(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.put_uv()
    monkeypatch.setenv("UV_CACHE_DIR", "/my/own")
    bench.build()
    assert "UV_CACHE_DIR=/my/own" in bench.environ()


def test_uv_is_fetched_once(bench: Bench, tmp_path: Path, wheels: Path) -> None:
    more = tmp_path / "wheels"
    write_wheel(more, "uv", "0.13.9", programs={"uv": RECORD})
    write_wheel(more, "pip", "99.0")  # what it tells of its settings is nothing
    with only_wheels_from(more), pytest.MonkeyPatch.context() as environment:
        environment.delenv("PIP_NO_CACHE_DIR")
        bench.build()
        bench.build(replace(bench.recipe, remove=("unwanted",)))
    assert [call.split()[:2] for call in bench.calls()] == [
        ["pip", "install"],
        ["pip", "install"],
        ["pip", "uninstall"],
    ]
    first, second = bench.python.calls("-m venv")
    assert not first.endswith("--without-pip")
    assert second.endswith("--without-pip")
    assert sorted(path.name for path in bench.cache.glob("uv*")) == [UV]


def test_pip_installs_where_uv_cannot_be_had(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    bench.build()
    assert "tiny" in bench.installed()
    told = capfd.readouterr().err
    assert "evalgate: pip installs, since uv does not: " in told
    assert "No matching distribution found for uv" in told
    assert not (bench.cache / UV).exists()


def test_pip_installs_what_uv_does_not(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    bench.put_uv("echo 'error: not with me'; exit 2")
    bench.build()
    assert "tiny" in bench.installed()
    assert "failed: error: not with me (exit 2;" in capfd.readouterr().err


def test_pip_installs_where_uv_is_for_another_machine(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    """It ended in a traceback, at every start."""
    bench.put_uv()
    program = bench.cache / UV / "bin" / "uv"
    program.write_bytes(b"\x7fELF\0")
    bench.build()
    assert "tiny" in bench.installed()
    assert f"uv does not: cannot run {program}: Exec format error\n" in capfd.readouterr().err


def test_settings_that_uv_would_not_heed_are_left_to_pip(
    bench: Bench, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.put_uv()
    monkeypatch.setenv("PIP_ONLY_BINARY", ":all:")
    bench.build()
    assert "pip is told only-binary here, which uv does not know" in capfd.readouterr().err
    assert not bench.record.exists()
    assert "tiny" in bench.installed()


def test_settings_that_nobody_tells_are_left_to_pip(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    bench.put_uv()
    (bench.cache / UV / "pip").unlink()
    (bench.cache / UV / "pip.py").write_text("raise SystemExit(1)\n")
    bench.build()
    assert "pip does not tell its settings" in capfd.readouterr().err
    assert not bench.record.exists()


def test_an_images_build_fetches_no_uv(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.put_uv()
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    bench.build()
    assert not bench.record.exists()
    assert "tiny" in bench.installed()


def test_a_cache_that_keeps_nothing_is_told(bench: Bench, tmp_path: Path) -> None:
    """What was fetched is thrown away, as it is when another run was first."""
    python = stand_in(tmp_path / "fetching", before='mkdir -p "$6/bin"; touch "$6/bin/uv"; exit')
    uv = Uv(bench.cache)
    bench.cache.mkdir()
    (bench.cache / UV).touch()
    with pytest.raises(LauncherError, match="cannot keep uv in .*: Not a directory"):
        uv.fetch(python.path, tmp_path / "log", 10)
    (bench.cache / UV).unlink()
    uv.fetch(python.path, tmp_path / "log", 10)
    assert uv.is_here
    uv.fetch(python.path, tmp_path / "log", 10)
    assert [path.name for path in bench.cache.iterdir()] == [UV]
