"""The engine's state file."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import anyio
import msgspec
import pytest

from launcher.ladder import AS_CONFIGURED, Rung, Step
from launcher.state import (
    EngineState,
    Exit,
    Member,
    Phase,
    StateFile,
    boot_id,
    next_state,
    read_state,
)

RUNNING = EngineState(
    phase="running", pid=7, started_at=100.0, boot_id=boot_id(), log_lines=("a", "b"), attempt=3
)


def logged(path: Path) -> tuple[str, ...]:
    state = read_state(path)
    return state.log_lines if state is not None else ()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run" / "engine.json"
    file = StateFile(path, EngineState())
    file.update(phase="starting", pid=5, members=(Member(5, 99),), versions={"vllm": "1"})
    assert read_state(path) == file.state
    assert [entry.name for entry in path.parent.iterdir()] == ["engine.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"phase": "asleep"}', b"\xff\xfe"])
def test_garbage_is_no_state(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "engine.json").write_bytes(content)
    assert read_state(tmp_path / "engine.json") is None
    assert read_state(tmp_path / "none.json") is None


def test_a_later_versions_fields_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "engine.json").write_bytes(b'{"phase": "running", "new": 1}')
    assert read_state(tmp_path / "engine.json") == EngineState(phase="running")


@pytest.mark.anyio
async def test_the_tail_of_the_log_follows_within_half_a_second(tmp_path: Path) -> None:
    """A quiet engine's last line once stayed unwritten until the next one came."""
    path = tmp_path / "engine.json"
    file = StateFile(path, EngineState())
    file.update(phase="starting")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(file.keep_up)
        file.add_log_lines([f"line {number}" for number in range(50)])
        with anyio.fail_after(5):
            while not logged(path):  # noqa: ASYNC110  (another task's doing, seen in a file)
                await anyio.sleep(0.01)
        written = path.stat().st_mtime_ns
        await anyio.sleep(0.6)  # nothing new: nothing is written
        assert path.stat().st_mtime_ns == written
        tasks.cancel_scope.cancel()
    assert logged(path) == tuple(f"line {number}" for number in range(10, 50))


def test_a_file_that_cannot_be_written_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").write_text("not a folder")
    file = StateFile(tmp_path / "run" / "engine.json", EngineState())
    with caplog.at_level(logging.WARNING):
        file.update(phase="starting")
        file.update(phase="running")
    assert len(caplog.records) == 1
    assert file.state.phase == "running"
    assert file.try_lock()


def test_only_one_process_holds_the_file(tmp_path: Path) -> None:
    first = StateFile(tmp_path / "engine.json", EngineState())
    second = StateFile(tmp_path / "engine.json", EngineState())
    assert first.try_lock()
    assert not second.try_lock()
    first.close()
    first.close()
    assert second.try_lock()
    second.close()


def test_a_file_system_without_locks_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr("fcntl.flock", refuse)
    file = StateFile(tmp_path / "engine.json", EngineState())
    assert file.try_lock()
    file.close()


def test_the_first_start_is_number_one() -> None:
    state = next_state(None, 0)
    assert (state.phase, state.attempt, state.last_exit) == ("preparing", 1, None)


@pytest.mark.parametrize(
    ("phase", "attempt"),
    [
        ("preparing", 4),
        ("starting", 4),
        ("running", 4),
        ("exited", 4),
        ("stopped", 1),
        ("failed", 1),
    ],
)
def test_ends_that_nobody_asked_for_are_counted(phase: Phase, attempt: int) -> None:
    assert next_state(msgspec.structs.replace(RUNNING, phase=phase), 0).attempt == attempt


def test_a_proven_engine_or_another_boot_starts_a_new_count() -> None:
    assert next_state(msgspec.structs.replace(RUNNING, is_proven=True), 0).attempt == 1
    assert next_state(msgspec.structs.replace(RUNNING, boot_id="another"), 0).attempt == 1


CLIMBED = msgspec.structs.replace(
    RUNNING,
    phase="exited",
    rung="as configured",
    next_rung=Rung("eager", is_eager=True),
    ladder=(Step("as configured", "words", 1.0, 2.0),),
    quick_ends=2,
    series_started_at=50.0,
    configuration="c",
)


def test_a_crash_goes_on_where_it_was() -> None:
    state = next_state(CLIMBED, 900)
    assert (state.rung, state.next_rung, state.ladder) == (
        "eager",
        CLIMBED.next_rung,
        CLIMBED.ladder,
    )
    assert (state.quick_ends, state.series_started_at, state.configuration) == (2, 50.0, "c")


def test_after_a_proof_the_rung_stays_and_a_new_series_begins() -> None:
    state = next_state(msgspec.structs.replace(CLIMBED, is_proven=True), 900)
    assert (state.next_rung, state.ladder) == (CLIMBED.next_rung, CLIMBED.ladder)
    assert (state.attempt, state.quick_ends, state.series_started_at) == (1, 0, 900)


@pytest.mark.parametrize("change", [{"phase": "stopped"}, {"phase": "failed"}, {"boot_id": "b"}])
def test_who_stops_the_engine_begins_at_the_top(change: dict[str, str]) -> None:
    state = next_state(msgspec.structs.replace(CLIMBED, **change), 900)
    assert (state.next_rung, state.ladder, state.attempt) == (AS_CONFIGURED, (), 1)
    assert (state.quick_ends, state.series_started_at) == (0, 900)


LEFT = {
    "pid": 7,
    "leader_start_ticks": 70,
    "members": (Member(7, 70), Member(8, 80)),
    "scratch_dir": "/tmp/evalgate-x",
}


def left(state: EngineState) -> dict[str, object]:
    return {name: getattr(state, name) for name in LEFT}


@pytest.mark.parametrize("phase", ["running", "exited", "stopped", "failed"])
def test_what_a_killed_launcher_left_is_known_until_it_is_cleared_away(phase: Phase) -> None:
    """A launcher that was killed while it prepared made the next one forget the engine."""
    killed = msgspec.structs.replace(RUNNING, phase=phase, **LEFT)
    once = next_state(killed, 900)
    assert (once.phase, left(once)) == ("preparing", LEFT)
    assert left(next_state(once, 901)) == LEFT


def test_another_boot_left_nothing() -> None:
    state = next_state(msgspec.structs.replace(RUNNING, boot_id="another", **LEFT), 900)
    assert left(state) == left(EngineState())


def test_a_rung_is_written_without_what_it_does_not_change(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    StateFile(path, EngineState()).update(next_rung=CLIMBED.next_rung, ladder=CLIMBED.ladder)
    written = json.loads(path.read_text())
    assert written["next_rung"] == {"name": "eager", "is_eager": True}
    assert written["ladder"][0]["reason"] == "words"
    read = read_state(path)
    assert read is not None
    assert read.next_rung == CLIMBED.next_rung


def test_a_known_end_is_carried_over() -> None:
    last = Exit(code=0, signal=None, at=1.0, lived_s=2.0, reason="exit code 0")
    previous = msgspec.structs.replace(RUNNING, phase="exited", last_exit=last)
    assert next_state(previous, 500).last_exit == last


def test_an_end_that_nobody_saw_is_told_as_such() -> None:
    assert next_state(RUNNING, 160.0).last_exit == Exit(
        code=None,
        signal=None,
        at=160.0,
        lived_s=60.0,
        reason="its launcher was killed",
        log_lines=("a", "b"),
    )


def test_the_boot_is_known_where_the_kernel_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert boot_id() == boot_id() != ""

    def refuse(*_: object, **__: object) -> str:
        raise OSError("hidden")

    monkeypatch.setattr(Path, "read_text", refuse)
    assert boot_id() == ""
