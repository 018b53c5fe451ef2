"""docs/submit.md: what it names exists, and its translation shows the same commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from gateway.settings import Settings
from launcher.settings import LauncherSettings
from launcher.tracks import LIMITS

REPOSITORY = Path(__file__).absolute().parents[1]
ENGLISH, CHINESE = (REPOSITORY / "docs" / name for name in ("submit.md", "submit.zh-CN.md"))
# Of the Dockerfile, of the vendors, and what supervisord says.
OTHERS = {"BASE_IMAGE", "MTHREADS_VISIBLE_DEVICES", "EXITED"}


def names_of(fields: dict[str, FieldInfo]) -> set[str]:
    choices = [getattr(f.validation_alias, "choices", [name]) for name, f in fields.items()]
    return {str(name).upper() for several in choices for name in several}


def commands(document: Path) -> list[str]:
    blocks = re.findall(r"```\w+\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    # What is for the reader to fill in is in the reader's language.
    return [re.sub(r"<.*?>", "<>", line) for line in lines if line]


@pytest.mark.parametrize("document", [ENGLISH, CHINESE], ids=lambda path: path.name)
def test_every_setting_that_it_names_exists(document: Path) -> None:
    known = names_of(Settings.model_fields) | names_of(LauncherSettings.model_fields) | OTHERS
    text = document.read_text(encoding="utf-8")
    assert set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", text)) - known == set()


@pytest.mark.parametrize("document", [ENGLISH, CHINESE], ids=lambda path: path.name)
def test_every_file_that_it_names_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for script in set(re.findall(r"\bscripts/[\w-]+", text)):
        assert (REPOSITORY / script).is_file(), script
    for link in re.findall(r"\]\(([\w.-]+\.md)\)", text):
        assert (document.parent / link).is_file(), link


def test_both_languages_show_the_same_commands() -> None:
    assert commands(ENGLISH) == commands(CHINESE)
    assert len(commands(ENGLISH)) > 20


@pytest.mark.parametrize("document", [ENGLISH, CHINESE], ids=lambda path: path.name)
def test_the_limits_are_those_that_the_doctor_holds_against_a_plan(document: Path) -> None:
    text = document.read_text(encoding="utf-8").replace("、", ", ")
    for track, limits in LIMITS.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{track.value}`"))
        assert f"{limits.build_s:g}, {limits.health_s:g}, {limits.predict_s:g}" in row
