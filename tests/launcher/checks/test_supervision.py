from pathlib import Path

import pytest

from launcher.checks import supervision
from launcher.checks.result import Result, Status
from launcher.interpreter import REPOSITORY
from launcher.settings import load_settings

OURS = (REPOSITORY / "supervisord.conf").read_text(encoding="utf-8")


def check(folder: Path, text: str | bytes, **environ: str) -> Result:
    path = folder / "supervisord.conf"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return supervision.check(path, load_settings(environ))


def test_the_file_of_this_repository_is_as_the_launcher_relies_on(tmp_path: Path) -> None:
    assert check(tmp_path, OURS).status is Status.OK


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("autorestart=unexpected", "autorestart=false", "autorestart=false"),
        ("exitcodes=3", "", "exitcodes=0"),
        ("stopasgroup=false", "stopasgroup=true", "breaks off the engine's clean-up"),
        ("killasgroup=true", "", "leaves processes on the card"),
        ("stopwaitsecs=80", "stopwaitsecs=5", "stopwaitsecs=5"),
        ("stopwaitsecs=80", "stopwaitsecs=soon", "stopwaitsecs=soon"),
    ],
)
def test_a_changed_setting_is_a_warning(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in OURS
    row = check(tmp_path, OURS.replace(old, new))
    assert row.status is Status.WARNING
    assert told in row.observed


def test_an_engine_that_may_stop_slowly_needs_a_patient_supervisor(tmp_path: Path) -> None:
    impatient = OURS.replace("stopwaitsecs=80", "stopwaitsecs=20")
    assert check(tmp_path, impatient).status is Status.OK
    assert check(tmp_path, impatient, ENGINE_STOP_TIMEOUT_S="30").status is Status.WARNING
    assert check(tmp_path, OURS, ENGINE_STOP_TIMEOUT_S="60").status is Status.OK


def test_exit_codes_do_not_matter_when_everything_is_started_again(tmp_path: Path) -> None:
    text = OURS.replace("autorestart=unexpected", "autorestart=true").replace("exitcodes=3", "")
    assert check(tmp_path, text).status is Status.OK


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[program:gateway]", "[program:other]", "no [program:gateway]"),
        ("-m launcher engine", "-m launcher flags", "does not run `-m launcher engine`"),
        ("nodaemon=true", "nodaemon", "cannot be read"),
        ("[program:gateway]", "[program:engine]", "already exists"),
    ],
)
def test_a_file_without_both_programs_is_a_failure(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    row = check(tmp_path, OURS.replace(old, new))
    assert row.status is Status.FAILURE
    assert told in row.observed


def test_what_is_no_text_is_a_failure(tmp_path: Path) -> None:
    assert check(tmp_path, b"\xff\xfe").status is Status.FAILURE


def test_a_folder_without_the_file_is_no_failure(tmp_path: Path) -> None:
    row = supervision.check(tmp_path / "supervisord.conf", load_settings({}))
    assert row.status is Status.SKIPPED
