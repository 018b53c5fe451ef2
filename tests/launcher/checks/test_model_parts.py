"""What the doctor says of a draft and an adapter."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.checks import model_parts
from launcher.checks.model_parts import PartFacts
from launcher.checks.result import Status
from launcher.settings import load_settings
from tests.fakes.hub import Hub
from tests.fakes.model_files import WEIGHTS, model_files, write_model

pytestmark = pytest.mark.anyio
DRAFT = {name: model_files()[name] for name in ("config.json", WEIGHTS)}
DRAFTING = {"ENABLE_SPECULATIVE_DECODING": "1", "SPEC_METHOD": "draft_model"}
ADAPTER = {
    "adapter_config.json": b'{"r": 8}',
    "adapter_model.safetensors": model_files()[WEIGHTS],
}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub("a/b", dict(DRAFT)) as running:
        yield running


async def look(
    tmp_path: Path,
    environ: dict[str, str],
    *,
    is_offline: bool = False,
    is_for_track: bool = False,
) -> tuple[PartFacts, ...]:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environ = {"MODEL_ROOT": str(tmp_path / "model"), **environ}
    own = {**os.environ, **environ}
    return await model_parts.gather(
        load_settings(environ),
        own,
        is_offline=is_offline,
        is_for_track=is_for_track,
        scratch=scratch,
    )


async def test_a_plain_model_has_no_parts(tmp_path: Path) -> None:
    assert await look(tmp_path, {"SPEC_MODEL_ID": "a/b"}) == ()


async def test_a_draft_on_the_hub_counts_into_the_build(tmp_path: Path, hub: Hub) -> None:
    environ = {**DRAFTING, "SPEC_MODEL_ID": "a/b", "MODELSCOPE_ENDPOINT": hub.url}
    (part,) = await look(tmp_path, environ)
    assert part.download_bytes == sum(len(data) for data in DRAFT.values())
    assert part.weights_bytes == len(DRAFT[WEIGHTS])
    assert part.config == {"model_type": "qwen3"}
    row = model_parts.check(part, is_for_track=True)
    assert (row.name, row.status) == ("draft model", Status.OK)
    assert row.observed == "ModelScope's list of 2 files: weights 3.0 MB"


@pytest.mark.parametrize(("optional", "status"), [("1", Status.WARNING), ("0", Status.FAILURE)])
async def test_a_draft_that_the_hub_refuses_costs_what_it_is_worth(
    optional: str, status: Status, tmp_path: Path, hub: Hub
) -> None:
    environ = {**DRAFTING, "SPEC_MODEL_ID": "a/none", "MODELSCOPE_ENDPOINT": hub.url}
    (part,) = await look(tmp_path, {**environ, "SPEC_MODEL_OPTIONAL": optional})
    row = model_parts.check(part, is_for_track=True)
    assert row.status is status
    assert "a/none: " in row.observed
    assert "no such model or revision" in row.observed


async def test_an_adapter_that_is_here_is_fetched_again_by_a_build(tmp_path: Path) -> None:
    write_model(tmp_path / "model" / "a" / "b", ADAPTER)
    (part,) = await look(tmp_path, {"LORA_ID": "a/b"})
    assert part.download_bytes == sum(len(data) for data in ADAPTER.values())
    row = model_parts.check(part, is_for_track=True)
    assert (row.name, row.status) == ("LoRA adapter", Status.OK)


async def test_with_a_track_the_hub_is_asked_for_what_is_here_as_well(
    tmp_path: Path, hub: Hub
) -> None:
    """An adapter that the hub does not have was told as ready to be built with."""
    write_model(tmp_path / "model" / "a" / "none", ADAPTER)
    environ = {"LORA_ID": "a/none", "MODELSCOPE_ENDPOINT": hub.url}
    (part,) = await look(tmp_path, environ, is_for_track=True)
    row = model_parts.check(part, is_for_track=True)
    assert row.status is Status.FAILURE
    assert "a/none: " in row.observed


async def test_with_a_track_a_hub_that_is_away_leaves_what_is_here(tmp_path: Path) -> None:
    write_model(tmp_path / "model" / "a" / "b", ADAPTER)
    with Hub("a/b", {}) as gone:
        url = gone.url
    environ = {"LORA_ID": "a/b", "MODELSCOPE_ENDPOINT": url}
    (part,) = await look(tmp_path, environ, is_for_track=True)
    assert (part.origin, part.problem) == ("the local folder", "")


async def test_a_folder_of_this_machine_is_not_in_a_build(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine", ADAPTER)
    (part,) = await look(tmp_path, {"LORA_DIR": str(folder)})
    assert part.download_bytes == 0
    assert model_parts.check(part, is_for_track=False).status is Status.OK
    row = model_parts.check(part, is_for_track=True)
    assert row.status is Status.WARNING
    assert row.advice == "put it on ModelScope and set LORA_ID"


async def test_a_folder_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    (part,) = await look(tmp_path, {"LORA_DIR": str(tmp_path / "none")})
    row = model_parts.check(part, is_for_track=False)
    assert row.status is Status.FAILURE
    assert f"there is no model folder {tmp_path}/none" in row.observed


async def test_what_cannot_be_asked_is_skipped(tmp_path: Path) -> None:
    (part,) = await look(tmp_path, {"LORA_ID": "a/b"}, is_offline=True)
    row = model_parts.check(part, is_for_track=True)
    assert row.status is Status.SKIPPED
    assert "it is fetched in the build" in row.observed
