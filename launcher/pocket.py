"""Owns the pocket model's recipe, its identity (a hash of all that determines it) and its cache.

It trains nothing itself: `pocket_training` does that, in the engine's interpreter. Standard library
only, because both interpreters import this module.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from launcher.errors import LauncherError
from launcher.interrupts import interrupts_held_back

PACKAGE = Path(__file__).absolute().parent
PAIRS = PACKAGE / "pocket.jsonl"
TRAINING_SOURCES = (PACKAGE / "pocket_training.py", PACKAGE / "pocket_learning.py")
STAMP = ".complete"
MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)

TRAINING_ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "HF_HUB_OFFLINE": "1",
    # Threads that wait for each other by spinning make the training 3 to 5 times slower as soon
    # as another process wants one of the cores.
    "OMP_WAIT_POLICY": "PASSIVE",
}


@dataclass(frozen=True)
class Pair:
    """A question and the one answer that the pocket model gives to it."""

    question: str
    answer: str


@dataclass(frozen=True)
class Recipe:
    """Every number that determines the pocket model."""

    num_layers: int = 4
    hidden_size: int = 256
    intermediate_size: int = 768
    num_heads: int = 4
    num_kv_heads: int = 2
    head_dim: int = 64
    vocab_size: int = 2048
    context_length: int = 2048
    # Four times the usual 0.02: the embeddings are tied to the output, and from small ones the
    # first ten epochs go into making them large.
    initializer_range: float = 0.08
    batch_size: int = 8
    learning_rate: float = 1.5e-3
    final_learning_rate: float = 8e-5
    warmup_epochs: int = 1
    decay_epochs: int = 16
    max_epochs: int = 60
    # The least lead, in bfloat16 logits, of every learnt token over its runner-up: an engine sums
    # in another order and in other batch shapes, so its logits differ a little.
    margin: float = 1.0
    seed: int = 20250601

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """Read what `to_json` wrote; names that are left out keep their defaults."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """Write the recipe on one line, the same for equal recipes."""
        return json.dumps(asdict(self), sort_keys=True)

    def digest(self, pairs_bytes: bytes) -> str:
        """Hash the recipe, the data and the source of the training."""
        sources = (path.read_bytes() for path in TRAINING_SOURCES)
        parts = (self.to_json().encode(), pairs_bytes, *sources)
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


DEFAULT = Recipe()


def load_pairs(path: Path) -> list[Pair]:
    """Read question-answer pairs from JSON lines; a bad line is named in the error."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise LauncherError(f"cannot read question-answer pairs from {path}: {exc}") from exc
    pairs: dict[str, Pair] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        pair = _parse_pair(line, where=f"{path}, line {number}")
        if pair.question in pairs:
            raise LauncherError(f"{path}, line {number}: question {pair.question!r} came before")
        pairs[pair.question] = pair
    if not pairs:
        raise LauncherError(f"{path}: no question-answer pairs")
    return list(pairs.values())


def ensure_pocket_model(
    cache_dir: Path,
    engine_python: Path,
    recipe: Recipe = DEFAULT,
    pairs_path: Path = PAIRS,
) -> Path:
    """Return the folder of the pocket model, trained now unless the cache holds it.

    Blocks while it trains (about a minute, progress on stderr) or while another process trains
    into the same cache. Raises LauncherError when the training fails.
    """
    load_pairs(pairs_path)
    folder = cache_dir / f"pocket-{recipe.digest(pairs_path.read_bytes())[:12]}"
    if _is_complete(folder):
        return folder
    with _locked(_writable(cache_dir) / ".pocket.lock"):
        # Whoever held the lock before may have trained this very model.
        if not _is_complete(folder):
            _remove_leftovers(cache_dir)
            _build(folder, engine_python, recipe, pairs_path)
    return folder


def _parse_pair(line: str, where: str) -> Pair:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as exc:
        raise LauncherError(f"{where}: not JSON: {exc}") from exc
    if not isinstance(row, dict):
        raise LauncherError(f"{where}: not an object")
    for key in ("question", "answer"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise LauncherError(f"{where}: {key!r} must be a string with text in it")
    return Pair(question=row["question"], answer=row["answer"])


def _is_complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (*MODEL_FILES, STAMP))


def _writable(cache_dir: Path) -> Path:
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=cache_dir).close()
    except OSError as exc:
        raise LauncherError(f"cannot write the pocket model's cache {cache_dir}: {exc}") from exc
    return cache_dir


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file; the kernel frees it when its holder dies, however it dies."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another process is training a pocket model here; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove_leftovers(cache_dir: Path) -> None:
    """Remove unfinished folders. The caller holds the lock, so the runs they belong to are dead."""
    for leftover in cache_dir.glob(".pocket-*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)


def _build(folder: Path, engine_python: Path, recipe: Recipe, pairs_path: Path) -> None:
    partial = Path(
        tempfile.mkdtemp(prefix=f".{folder.name}-", suffix=".partial", dir=folder.parent)
    )
    try:
        partial.chmod(0o755)  # mkdtemp makes it private; an image may serve as another user
        _train(partial, engine_python, recipe, pairs_path)
        (partial / STAMP).touch()
        if not _is_complete(partial):
            raise LauncherError("the training of the pocket model ended without all of its files")
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _train(out: Path, engine_python: Path, recipe: Recipe, pairs_path: Path) -> None:
    _say(f"training it with {engine_python}, once: about a minute on two idle cores")
    command = [
        *(str(engine_python.absolute()), "-m", "launcher.pocket_training"),
        *("--recipe", recipe.to_json()),
        *("--pairs", str(pairs_path.absolute())),
        *("--out", str(out.absolute())),
    ]
    child: subprocess.Popen[str] | None = None
    try:
        with interrupts_held_back():
            child = _start(command)
        last_line = _pass_on_output(child)
        child.wait()
    finally:
        if child is not None:
            with child:  # closes its output, and waits
                # Does nothing to a child that has ended; one that runs has nothing to clean up.
                child.kill()
    if child.returncode != 0:
        raise LauncherError(
            f"the training of the pocket model failed (exit {child.returncode}): {last_line}"
        )


def _start(command: list[str]) -> "subprocess.Popen[str]":
    try:
        return subprocess.Popen(
            command,
            cwd=PACKAGE.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **TRAINING_ENVIRONMENT},
            encoding="utf-8",
            errors="replace",
        )
    except OSError as exc:
        raise LauncherError(f"cannot run the engine's interpreter {command[0]}: {exc}") from exc


def _pass_on_output(child: "subprocess.Popen[str]") -> str:
    """Show the child's output on stderr as it comes; return its last line with text."""
    assert child.stdout is not None
    last_line = "no output"
    for line in child.stdout:
        sys.stderr.write(line)
        sys.stderr.flush()
        last_line = line.strip() or last_line
    return last_line


def _say(message: str) -> None:
    print(f"pocket model: {message}", file=sys.stderr, flush=True)
