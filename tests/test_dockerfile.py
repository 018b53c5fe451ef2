"""The Dockerfile and .dockerignore, as far as they can be judged without a builder."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.fakes.hub import Hub
from tests.fakes.model_files import model_files

REPOSITORY = Path(__file__).resolve().parents[1]
LINES = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()


def copies(stages: tuple[str, ...] | None = None) -> Iterator[tuple[list[str], str]]:
    """Sources and target of every COPY from the checkout, of some stages or of all."""
    stage = ""
    for line in LINES:
        if (begun := re.match(r"FROM \S+(?: AS (\S+))?$", line)) is not None:
            stage = begun[1] or "last"
        words = line.split()
        is_wanted = stages is None or stage in stages
        if is_wanted and words[:1] == ["COPY"] and not words[1].startswith("--"):
            yield words[1:-1], words[-1]


def copy_stages(folder: Path, *stages: str) -> Path:
    """Do what the COPY lines of some stages do."""
    for sources, target in copies(stages):
        (folder / target).mkdir(parents=True, exist_ok=True)
        for source in sources:
            found = list(REPOSITORY.glob(source))
            assert found, source
            for file in found:
                shutil.copy(file, folder / target)
    return folder


def launcher(folder: Path, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": str(folder), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_environment_is_made_with_what_is_copied_for_it(tmp_path: Path) -> None:
    folder = copy_stages(tmp_path, "program")
    done = launcher(folder, "-S", "-m", "launcher.virtualenv", "--help")
    assert done.returncode == 0, done.stderr


def test_a_model_is_fetched_with_what_is_copied_for_it(tmp_path: Path) -> None:
    folder = copy_stages(tmp_path, "program", "fetcher")
    files = {**model_files(), "chat_template.jinja": b"{{ messages }}"}
    with Hub("owner/model", files) as hub:
        environ = {"MODEL_ID": "owner/model", "MODELSCOPE_ENDPOINT": hub.url}
        done = launcher(folder, "-m", "launcher", "model", **environ)
    assert done.returncode == 0, done.stderr
    assert (folder / "model/owner/model/model.safetensors").is_file()


def test_the_pocket_model_is_trained_with_what_is_copied_for_it(tmp_path: Path) -> None:
    """As far as its engine: this one lacks torch."""
    folder = copy_stages(tmp_path, "program", "fetcher")
    done = launcher(folder, "-m", "launcher", "model", ENGINE_PYTHON=sys.executable)
    assert done.returncode == 1
    assert "No module named 'torch'" in done.stderr


def test_the_context_has_what_is_copied_and_little_else() -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    copied = {source.partition("/")[0] for sources, _ in copies() for source in sources}
    assert let_in == copied


def test_what_a_model_needs_is_fetched_before_the_rest_is_copied() -> None:
    """Otherwise every change of the gateway would fetch the model again."""
    text = "\n".join(LINES)
    last = text[text.index("\nFROM fetcher\n") :]
    assert last.index("RUN scripts/container-model") < last.index("COPY gateway")
