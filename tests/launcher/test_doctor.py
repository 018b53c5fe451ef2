"""`python -m launcher doctor`: as a process, and its rows for scripted machines."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher import doctor
from launcher.checks.facts import Place
from launcher.interpreter import REPOSITORY
from launcher.settings import load_settings
from tests.fakes.hub import Hub
from tests.fakes.model_files import model_files, write_model
from tests.launcher.checkouts import checkout
from tests.launcher.installs import SERVER, fake_vllm
from tests.ports import free_port

CONFIG = {
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 4096,
    "eos_token_id": 2,
}
TOKENIZER = {
    "eos_token": "<|im_end|>",
    "chat_template": "<|im_end|>",
    "added_tokens_decoder": {"2": {"content": "<|im_end|>"}},
}
MODEL = {
    **model_files(),
    "config.json": json.dumps(CONFIG).encode(),
    "tokenizer_config.json": json.dumps(TOKENIZER).encode(),
}
# Knows all that the defaults would have it told.
ENGINE = SERVER.replace('"--dtype"', '"--dtype", "--enable-prefix-caching"')
CONF = (REPOSITORY / "supervisord.conf").read_bytes()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A machine without an accelerator, and a checkout that was pushed."""
    (tmp_path / "root" / "proc").mkdir(parents=True)
    (tmp_path / "root" / "proc" / "meminfo").write_text("MemAvailable: 16777216 kB\n")
    files: dict[str, str | bytes] = {"Dockerfile": "FROM x\n", "supervisord.conf": CONF}
    return Place(checkout(tmp_path / "work", files), tmp_path / "root")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("MODEL")}
    return {
        **own,
        "HOME": str(tmp_path),
        "EVALGATE_CACHE": str(tmp_path / "cache"),
        "MODEL_ROOT": str(tmp_path / "model"),
        "ENGINE_PYTHON": str(tmp_path / "no-engine"),
        "ENGINE_PORT": str(free_port()),
        "GATEWAY_PORT": str(free_port()),
    }


def diagnose(
    capsys: pytest.CaptureFixture[str], place: Place, environ: dict[str, str], *arguments: str
) -> tuple[int, dict[str, dict[str, Any]]]:
    """Run the doctor; return its exit code and its rows by name."""
    parser = argparse.ArgumentParser()
    doctor.add_arguments(parser)
    args = parser.parse_args([*arguments, "--json"])
    code = doctor.run(args, load_settings(environ), environ, place)
    report = json.loads(capsys.readouterr().out)
    assert report["status"] == ("failure" if code else report["status"])
    return code, {row["name"]: row for row in report["checks"]}


def statuses(rows: dict[str, dict[str, Any]], status: str) -> set[str]:
    return {name for name, row in rows.items() if row["status"] == status}


def test_a_machine_that_is_ready_has_nothing_to_be_done(
    capsys: pytest.CaptureFixture[str], place: Place, environ: dict[str, str], tmp_path: Path
) -> None:
    model = write_model(tmp_path / "mine", MODEL)
    ready = {"MODEL_DIR": str(model), "ENGINE_PYTHON": str(fake_vllm(tmp_path / "e", ENGINE))}
    settings = {**environ, **ready, "CPU_KV_CACHE_GIB": "4", "BATCH_CONCURRENCY": "8"}
    code, rows = diagnose(capsys, place, settings)
    assert code == 0
    assert statuses(rows, "failure") | statuses(rows, "warning") == set(), rows
    assert statuses(rows, "skipped") == {"predict deadline", "health budget"}
    assert "16.0 GiB of free memory" in rows["memory"]["limit"]


@pytest.mark.parametrize(("size", "code", "status"), [("8GB", 0, "ok"), ("14GB", 1, "failure")])
def test_a_size_is_held_against_a_track_that_is_not_this_machine(
    capsys: pytest.CaptureFixture[str],
    place: Place,
    environ: dict[str, str],
    size: str,
    code: int,
    status: str,
) -> None:
    del environ["GATEWAY_PORT"]
    arguments = ("--track", "metax", "--model-size", size)
    exit_code, rows = diagnose(capsys, place, environ, *arguments)
    assert exit_code == code
    assert rows["build time"]["status"] == status
    assert "min)" in rows["build time"]["observed"]
    assert statuses(rows, "failure") == ({"build time"} if code else set())
    assert rows["model files"]["status"] == rows["chat template"]["status"] == "skipped"
    assert "1000.0 GB of track metax's disk" in rows["disk"]["limit"]


def test_bandwidth_and_card_can_be_said(
    capsys: pytest.CaptureFixture[str], place: Place, environ: dict[str, str]
) -> None:
    arguments = ("--model-size", "14GB", "--bandwidth", "1000", "--card-memory", "80GiB")
    _, rows = diagnose(capsys, place, environ, "--track", "mthreads", *arguments)
    assert "at 1000 Mbit/s" in rows["build time"]["observed"]
    assert "80 GB x 0.9" in rows["memory"]["limit"]
    assert rows["disk"]["status"] == "skipped"


def test_a_model_on_the_hub_is_judged_without_its_weights(
    capsys: pytest.CaptureFixture[str], place: Place, environ: dict[str, str]
) -> None:
    del environ["GATEWAY_PORT"]
    with Hub("someone/tiny-model", MODEL) as hub:
        settings = {**environ, "MODEL_ID": "someone/tiny-model", "MODELSCOPE_ENDPOINT": hub.url}
        _, rows = diagnose(capsys, place, settings, "--track", "metax")
        _, offline = diagnose(capsys, place, settings, "--track", "metax", "--offline")
    assert "ModelScope's list of 5 files" in rows["build time"]["observed"]
    assert "sequences of all 4,096 tokens" in rows["memory"]["observed"]
    assert rows["chat template"]["status"] == rows["end tokens"]["status"] == "ok"
    assert statuses(offline, "skipped") >= {"build time", "memory", "model files", "end tokens"}


def test_nothing_at_hand_is_no_failure(
    capsys: pytest.CaptureFixture[str], environ: dict[str, str], tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    (bare / "dev").mkdir(parents=True)
    (bare / "dev" / "nvidia0").touch()
    code, rows = diagnose(capsys, Place(bare, bare), environ, "--offline")
    assert code == 0
    skipped = statuses(rows, "skipped")
    assert skipped >= {"memory", "model files", "engine flags", "git state", "hosting limits"}
    assert skipped >= {"Dockerfile", "secrets", "supervisord.conf"}
    assert rows["git state"]["observed"].startswith("not checked: git status")


def test_a_draft_model_needs_memory_too(
    capsys: pytest.CaptureFixture[str], place: Place, environ: dict[str, str], tmp_path: Path
) -> None:
    model = write_model(tmp_path / "mine", MODEL)
    draft = {
        "ENABLE_SPECULATIVE_DECODING": "1",
        "SPEC_METHOD": "draft_model",
        "SPEC_MODEL_DIR": str(model),
    }
    settings = {**environ, "MODEL_DIR": str(model)}
    _, alone = diagnose(capsys, place, settings, "--track", "paratera")
    _, both = diagnose(capsys, place, {**settings, **draft}, "--track", "paratera")
    assert "weights 2.9 MiB" in alone["memory"]["observed"]
    assert "weights 5.7 MiB" in both["memory"]["observed"]


def test_secrets_are_told_by_place_only(
    capsys: pytest.CaptureFixture[str], environ: dict[str, str], tmp_path: Path
) -> None:
    folder = checkout(tmp_path / "leaky", {"Dockerfile": "FROM x\nENV T=correct.horse\n"})
    settings = {**environ, "MODELSCOPE_API_TOKEN": "correct.horse"}
    code, rows = diagnose(capsys, Place(folder), settings)
    assert code == 1
    assert "Dockerfile:2" in rows["secrets"]["observed"]
    assert "correct.horse" not in str(rows)


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "launcher", "doctor", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "ENGINE_PYTHON": "/none", **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_table_shows_status_limit_and_advice() -> None:
    done = run("--track", "metax", "--model-size", "14GB", "--offline", COLUMNS="200")
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    row = next(line for line in lines if line.split()[:2] == ["build", "time"])
    assert row.split()[2] == "failure"
    assert "limit: 900 s (15.0 min)" in done.stdout
    assert "→ use a smaller model" in done.stdout
    assert " failure" in lines[-1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--model-size", "big"), "'big' is no size: write 8GB"),
        (("--bandwidth", "0"), "is no bandwidth"),
        (("--track", "moon"), "metax"),
    ],
)
def test_bad_usage_ends_with_2(arguments: tuple[str, ...], told: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert told in done.stderr


def test_settings_that_cannot_be_read_end_with_3() -> None:
    done = run(ENGINE_PORT="x")
    assert (done.returncode, done.stdout) == (3, "")
    assert "ENGINE_PORT='x': must be an integer" in done.stderr
