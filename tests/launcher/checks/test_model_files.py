from dataclasses import replace
from pathlib import Path

import pytest

from launcher.checks import model_files
from launcher.checks.model_facts import ModelFacts
from launcher.checks.result import Result, Status
from launcher.settings import load_settings
from tests.fakes.model_files import WEIGHTS, write_model
from tests.fakes.model_files import model_files as whole_model

LISTED = ModelFacts("ModelScope's list of 4 files", 11_300, 5000)


def check(facts: ModelFacts, *, is_for_track: bool = True, **environ: str) -> Result:
    return model_files.check(facts, load_settings(environ), is_for_track=is_for_track)


def local(folder: Path, files: dict[str, bytes]) -> ModelFacts:
    return ModelFacts("the local folder", 1, 2, write_model(folder, files), is_local=True)


def test_a_whole_model_is_ok(tmp_path: Path) -> None:
    facts = local(tmp_path, whole_model())
    assert check(facts, MODEL_ID="a/b").status is Status.OK
    assert check(facts, is_for_track=False, MODEL_DIR=str(tmp_path)).status is Status.OK


def test_a_build_does_not_have_a_folder_of_this_machine(tmp_path: Path) -> None:
    row = check(local(tmp_path, whole_model()), MODEL_DIR=str(tmp_path))
    assert row.status is Status.WARNING
    assert "set MODEL_ID" in row.advice


@pytest.mark.parametrize("name", ["MODEL_ID", "MODEL_DIR"])
def test_a_pointer_instead_of_weights_is_a_failure(tmp_path: Path, name: str) -> None:
    files = {**whole_model(), WEIGHTS: b"version https://git-lfs.github.com/spec/v1\n"}
    row = model_files.check(
        local(tmp_path, files), load_settings({name: "a/b"}), is_for_track=False
    )
    assert row.status is Status.FAILURE
    assert "Git LFS pointer" in row.observed


def test_a_folder_that_is_configured_must_be_there() -> None:
    assert check(ModelFacts(""), MODEL_DIR="/none").status is Status.FAILURE


def test_a_model_on_the_hub_is_judged_by_its_list() -> None:
    assert check(LISTED, MODEL_ID="a/b").status is Status.OK
    row = check(replace(LISTED, lacks=("config.json", "weights")), MODEL_ID="a/b")
    assert row.status is Status.FAILURE
    assert "lacks config.json, weights" in row.observed


def test_a_model_that_the_hub_refuses_fails_the_build(tmp_path: Path) -> None:
    refused = ModelFacts("no size", refusal="hub: 404")
    assert check(refused, is_for_track=False, MODEL_ID="a/b").status is Status.FAILURE
    here = replace(local(tmp_path, whole_model()), refusal="hub: 404")
    assert check(here, is_for_track=True, MODEL_ID="a/b").status is Status.FAILURE
    assert check(here, is_for_track=False, MODEL_ID="a/b").status is Status.OK


def test_a_model_that_nothing_is_known_of_is_not_judged() -> None:
    row = check(ModelFacts("no size of MODEL_ID=a/b; the hub is away"), MODEL_ID="a/b")
    assert row.status is Status.SKIPPED
    assert "the hub is away" in row.observed
    assert check(ModelFacts("")).status is Status.SKIPPED
