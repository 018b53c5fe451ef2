"""The pocket model's recipe and cache, with a shell script in the place of the engine's Python."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.errors import LauncherError
from launcher.pocket import (
    DEFAULT,
    MODEL_FILES,
    PAIRS,
    STAMP,
    Pair,
    Recipe,
    ensure_pocket_model,
    load_pairs,
)

ROOT = Path(__file__).parents[2]
DEADLINE_S = 30.0

COUNT_RUN = 'echo run >> "$0.runs"'
FIND_OUT = 'while [ "$1" != --out ]; do shift; done; out=$2'
WRITE_FILES = f'for name in {" ".join(MODEL_FILES)}; do echo x > "$out/$name"; done'
# Opening a FIFO blocks until the test opens its other end: trainer and test meet there.
WAIT_FOR_TEST = 'read line < "$0.fifo" || true'

DRIVER = """
import sys
from pathlib import Path
from launcher.pocket import ensure_pocket_model
print(ensure_pocket_model(Path(sys.argv[1]), Path(sys.argv[2])))
"""


def make_trainer(folder: Path, *lines: str) -> Path:
    trainer = folder / "trainer"
    trainer.write_text("\n".join(("#!/bin/sh", COUNT_RUN, FIND_OUT, *lines, "")))
    trainer.chmod(0o755)
    os.mkfifo(f"{trainer}.fifo")
    return trainer


def runs_of(trainer: Path) -> int:
    runs = Path(f"{trainer}.runs")
    return len(runs.read_text().splitlines()) if runs.exists() else 0


def model_folders(cache: Path) -> list[str]:
    """All that is left in the cache, except the lock."""
    return sorted(path.name for path in cache.iterdir() if path.name != ".pocket.lock")


@contextlib.contextmanager
def driving(cache: Path, trainer: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that wants the pocket model."""
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(cache), str(trainer)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as driver:
        try:
            yield driver
        finally:
            driver.kill()


@contextlib.contextmanager
def met(trainer: Path) -> Iterator[int]:
    """Wait until the trainer reads its FIFO; closing the other end lets it go on."""
    deadline_s = time.monotonic() + DEADLINE_S
    while True:
        try:
            descriptor = os.open(f"{trainer}.fifo", os.O_WRONLY | os.O_NONBLOCK)
            break
        except OSError as exc:
            if exc.errno != errno.ENXIO or time.monotonic() > deadline_s:
                raise
            time.sleep(0.01)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_lines(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def line_of(question: str, answer: str) -> str:
    return json.dumps({"question": question, "answer": answer}, ensure_ascii=False)


def test_pairs_of_the_repository_are_many_and_unique() -> None:
    pairs = load_pairs(PAIRS)
    assert len(pairs) >= 60
    assert len({pair.answer for pair in pairs}) == len(pairs)
    assert sum("```" in pair.answer for pair in pairs) >= 10


def test_pairs_of_the_repository_hold_no_surrounding_space() -> None:
    """The gateway trims answers, so an answer with such space would never compare equal."""
    pairs = load_pairs(PAIRS)
    assert [p for p in pairs if p != Pair(p.question.strip(), p.answer.strip())] == []


def test_pairs_are_read_in_order(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "p.jsonl", line_of("什么是warp？", "a"), line_of("二", "b\nc"))
    assert load_pairs(path) == [Pair("什么是warp？", "a"), Pair("二", "b\nc")]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "not JSON"),
        ("[]", "not an object"),
        ('{"question": "q"}', "'answer' must be"),
        ('{"question": 1, "answer": "a"}', "'question' must be"),
        ('{"question": "q", "answer": " "}', "'answer' must be"),
        (line_of("first", "b"), "'first' came before"),
    ],
)
def test_bad_line_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    path = write_lines(tmp_path / "p.jsonl", line_of("first", "a"), line)
    with pytest.raises(LauncherError, match=f"p.jsonl, line 2: .*{complaint}"):
        load_pairs(path)


def test_file_without_pairs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match="no question-answer pairs"):
        load_pairs(write_lines(tmp_path / "p.jsonl"))


def test_unreadable_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match="cannot read .*missing.jsonl"):
        load_pairs(tmp_path / "missing.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b"\xff\n")
    with pytest.raises(LauncherError, match="cannot read .*latin.jsonl"):
        load_pairs(tmp_path / "latin.jsonl")


def test_recipe_survives_json() -> None:
    recipe = replace(DEFAULT, num_layers=1, margin=0.5)
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert Recipe.from_json("{}") == DEFAULT


def test_digest_changes_with_data_and_recipe() -> None:
    digests = {
        DEFAULT.digest(b"a"),
        DEFAULT.digest(b"b"),
        replace(DEFAULT, seed=1).digest(b"a"),
        replace(DEFAULT, margin=3.0).digest(b"a"),
    }
    assert len(digests) == 4
    assert Recipe().digest(b"a") == DEFAULT.digest(b"a")


def test_model_is_trained_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = make_trainer(tmp_path, "echo epoch 1 >&2", WRITE_FILES)
    cache = tmp_path / "new" / "cache"
    folder = ensure_pocket_model(cache, trainer)
    assert "epoch 1\n" in capsys.readouterr().err
    assert folder == cache / f"pocket-{DEFAULT.digest(PAIRS.read_bytes())[:12]}"
    assert sorted(path.name for path in folder.iterdir()) == sorted((*MODEL_FILES, STAMP))
    assert ensure_pocket_model(cache, trainer) == folder
    assert capsys.readouterr().err == ""
    assert (runs_of(trainer), model_folders(cache)) == (1, [folder.name])


def test_trainer_gets_recipe_and_pairs(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, WRITE_FILES)
    trainer.write_text(trainer.read_text().replace(FIND_OUT, f'echo "$@" > "$0.args"\n{FIND_OUT}'))
    pairs = write_lines(tmp_path / "p.jsonl", line_of("q", "a"))
    recipe = replace(DEFAULT, num_layers=1)
    ensure_pocket_model(tmp_path / "cache", trainer, recipe, pairs)
    words = Path(f"{trainer}.args").read_text()
    assert words.startswith("-m launcher.pocket_training --recipe ")
    assert recipe.to_json() in words
    assert f"--pairs {pairs}" in words


def test_other_recipe_and_other_pairs_are_other_models(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, WRITE_FILES)
    pairs = write_lines(tmp_path / "p.jsonl", line_of("q", "a"))
    folders = {
        ensure_pocket_model(tmp_path, trainer),
        ensure_pocket_model(tmp_path, trainer, replace(DEFAULT, seed=1)),
        ensure_pocket_model(tmp_path, trainer, DEFAULT, pairs),
    }
    assert (len(folders), runs_of(trainer)) == (3, 3)


def test_damaged_model_is_trained_again(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, WRITE_FILES)
    cache = tmp_path / "cache"
    folder = ensure_pocket_model(cache, trainer)
    (folder / "model.safetensors").unlink()
    assert ensure_pocket_model(cache, trainer) == folder
    assert (folder / "model.safetensors").is_file()
    assert runs_of(trainer) == 2


def test_failing_training_says_its_last_line_and_leaves_no_folder(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, WRITE_FILES, "echo no room >&2", "echo >&2", "exit 7")
    with pytest.raises(LauncherError, match=r"failed \(exit 7\): no room$"):
        ensure_pocket_model(tmp_path / "cache", trainer)
    assert model_folders(tmp_path / "cache") == []


def test_training_that_forgets_a_file_leaves_no_folder(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, WRITE_FILES, 'rm "$out/tokenizer.json"')
    with pytest.raises(LauncherError, match="without all of its files"):
        ensure_pocket_model(tmp_path / "cache", trainer)
    assert model_folders(tmp_path / "cache") == []


def test_missing_interpreter_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match="cannot run the engine's interpreter .*nothing"):
        ensure_pocket_model(tmp_path / "cache", tmp_path / "nothing")
    assert model_folders(tmp_path / "cache") == []


def test_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LauncherError, match="cannot write the pocket model's cache"):
        ensure_pocket_model(tmp_path / "file", tmp_path / "trainer")


def test_interrupted_training_leaves_no_folder_and_no_child(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, WRITE_FILES, WAIT_FOR_TEST)
    cache = tmp_path / "cache"
    with driving(cache, trainer) as driver, met(trainer) as descriptor:
        driver.send_signal(signal.SIGINT)
        driver.wait(DEADLINE_S)
        with pytest.raises(BrokenPipeError):
            os.write(descriptor, b"is anyone there?\n")
    assert driver.returncode != 0
    assert model_folders(cache) == []


def test_killed_training_is_cleared_away_by_the_next(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    stuck = make_trainer(tmp_path, WRITE_FILES, WAIT_FOR_TEST)
    with driving(cache, stuck) as driver, met(stuck):
        driver.kill()
        driver.wait(DEADLINE_S)
        assert [name for name in model_folders(cache) if name.endswith(".partial")] != []
    (tmp_path / "second").mkdir()
    folder = ensure_pocket_model(cache, make_trainer(tmp_path / "second", WRITE_FILES))
    assert model_folders(cache) == [folder.name]


def test_concurrent_calls_train_once(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, WRITE_FILES, WAIT_FOR_TEST)
    cache = tmp_path / "cache"
    with driving(cache, trainer) as first, driving(cache, trainer) as second:
        with met(trainer):
            waiting = wait_for_waiter(first, second)
        outputs = [driver.communicate(timeout=DEADLINE_S)[0] for driver in (first, second)]
    assert waiting
    assert (first.returncode, second.returncode, runs_of(trainer)) == (0, 0, 1)
    assert outputs[0] == outputs[1] == f"{cache / model_folders(cache)[0]}\n"


def wait_for_waiter(*drivers: "subprocess.Popen[str]") -> bool:
    """Read both drivers' first line: one trains, and the other says that it waits."""
    firsts = [driver.stderr.readline() for driver in drivers if driver.stderr is not None]
    return sum("another process is training" in line for line in firsts) == 1
