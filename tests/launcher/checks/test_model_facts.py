import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.checks import model_facts
from launcher.checks.hub_listing import Listing
from launcher.checks.model_facts import ModelFacts
from launcher.settings import LauncherSettings, load_settings
from tests.fakes.hub import Hub
from tests.fakes.model_files import SHARDS, WEIGHTS, model_files, write_model

pytestmark = pytest.mark.anyio
LISTED = {"config.json": 100, "tokenizer.json": 200, "a.safetensors": 5000, "a.bin": 6000}


def settings_for(folder: Path, **environ: str) -> LauncherSettings:
    return load_settings(
        {"EVALGATE_CACHE": str(folder), "MODEL_ROOT": str(folder / "m"), **environ}
    )


async def gather(
    settings: LauncherSettings, folder: Path, given_bytes: int | None = None
) -> ModelFacts:
    return await model_facts.gather(
        settings,
        {},
        given_bytes=given_bytes,
        is_offline=True,
        is_for_track=False,
        scratch=folder,
    )


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub("a/b", model_files()) as running:
        yield running


async def gather_online(hub: Hub, folder: Path, scratch: Path, *, is_for_track: bool) -> ModelFacts:
    """As `gather`, of the model a/b on this hub, which has a part of its files in `folder`."""
    settings = settings_for(folder, MODEL_ID="a/b", MODELSCOPE_ENDPOINT=hub.url)
    return await model_facts.gather(
        settings,
        os.environ,
        given_bytes=None,
        is_offline=False,
        is_for_track=is_for_track,
        scratch=scratch,
    )


async def test_a_size_alone_says_nothing_of_the_files(tmp_path: Path) -> None:
    facts = await gather(settings_for(tmp_path), tmp_path, 8)
    assert facts == ModelFacts("as given", 8, 8)
    assert facts.config == {}


async def test_a_size_given_wins_over_a_folder(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m" / "a" / "b", model_files())
    facts = await gather(settings_for(tmp_path, MODEL_ID="a/b"), tmp_path, 8)
    assert (facts.download_bytes, facts.weights_bytes, facts.folder) == (8, 8, folder)


async def test_a_folder_tells_its_size_without_what_is_hidden(tmp_path: Path) -> None:
    files = {**model_files(), ".evalgate-model.json": b"{}"}
    folder = write_model(tmp_path / "here", files)
    facts = await gather(settings_for(tmp_path, MODEL_DIR=str(folder)), tmp_path)
    assert facts.origin == "the local folder"
    assert facts.download_bytes == sum(len(data) for data in model_files().values())
    assert facts.weights_bytes == len(model_files()[WEIGHTS])
    assert facts.config == {"model_type": "qwen3"}
    assert facts.is_local


async def test_with_a_track_what_the_build_fetches_counts(tmp_path: Path, hub: Hub) -> None:
    """A folder that was fetched in part was told as the model that is submitted."""
    del hub.files["tokenizer.json"]
    partial = write_model(tmp_path / "m" / "a" / "b", {SHARDS[0]: b"x" * 500})
    facts = await gather_online(hub, tmp_path, tmp_path / "scratch", is_for_track=True)
    assert (facts.weights_bytes, facts.lacks) == (len(hub.files[WEIGHTS]), ("a tokenizer",))
    assert (facts.is_local, facts.config) == (False, {"model_type": "qwen3"})
    facts = await gather_online(hub, tmp_path, tmp_path / "more", is_for_track=False)
    assert (facts.weights_bytes, facts.is_local, facts.folder) == (500, True, partial)


async def test_with_a_track_a_hub_that_tells_nothing_leaves_what_is_here(
    tmp_path: Path, hub: Hub
) -> None:
    folder = write_model(tmp_path / "m" / "a" / "b", model_files())
    hub.files.clear()
    facts = await gather_online(hub, tmp_path, tmp_path / "scratch", is_for_track=True)
    assert (facts.is_local, facts.folder) == (True, folder)


async def test_the_pocket_model_is_not_downloaded(tmp_path: Path) -> None:
    write_model(tmp_path / "m" / "pocket", model_files())
    facts = await gather(settings_for(tmp_path), tmp_path)
    assert (facts.origin, facts.download_bytes) == (model_facts.POCKET, 0)


async def test_a_pocket_model_that_is_not_trained_yet_is_not_here(tmp_path: Path) -> None:
    facts = await gather(settings_for(tmp_path), tmp_path)
    assert facts == ModelFacts(model_facts.POCKET, 0)


async def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    facts = await gather(settings_for(tmp_path, MODEL_DIR="/none"), tmp_path)
    assert facts == ModelFacts("MODEL_DIR=/none is not there")


async def test_offline_a_model_that_is_not_here_has_no_size(tmp_path: Path) -> None:
    facts = await gather(settings_for(tmp_path, MODEL_ID="a/b"), tmp_path)
    assert facts == ModelFacts("no size of MODEL_ID=a/b")


def test_the_hub_tells_the_download_and_one_format_of_the_weights(tmp_path: Path) -> None:
    facts = model_facts.with_listing(ModelFacts(""), Listing(LISTED), "a/b", tmp_path)
    assert facts == ModelFacts("ModelScope's list of 4 files", 11_300, 5000)
    (tmp_path / "config.json").write_text("{}")
    facts = model_facts.with_listing(ModelFacts(""), Listing(LISTED), "a/b", tmp_path)
    assert facts.folder == tmp_path


def test_weights_that_are_here_count_as_they_are(tmp_path: Path) -> None:
    here = ModelFacts("the local folder", 1, 2, tmp_path, is_local=True)
    facts = model_facts.with_listing(here, Listing(LISTED), "a/b", tmp_path / "other")
    assert (facts.download_bytes, facts.weights_bytes, facts.folder) == (11_300, 2, tmp_path)


@pytest.mark.parametrize("is_refused", [True, False])
def test_a_hub_that_does_not_tell_is_told(tmp_path: Path, is_refused: bool) -> None:
    listing = Listing({}, "hub: 404", is_refused)
    facts = model_facts.with_listing(ModelFacts("no size"), listing, "a/b", tmp_path)
    assert facts == ModelFacts("no size; hub: 404", refusal="hub: 404" if is_refused else "")


def test_an_empty_model_is_told(tmp_path: Path) -> None:
    facts = model_facts.with_listing(ModelFacts("no size"), Listing(), "a/b", tmp_path)
    assert facts.origin == "no size; ModelScope lists no file of a/b"


@pytest.mark.parametrize(
    ("listed", "lack"),
    [
        (LISTED, []),
        ({**LISTED, "a.bin": 130}, ["the weights of a.bin (130 bytes: a Git LFS pointer?)"]),
        ({"README.md": 1}, ["config.json", "a tokenizer", "weights"]),
        ({"config.json": 1, "qwen.tiktoken": 1, SHARDS[0]: 999}, []),
        ({"config.json": 1, "vocab.json": 1, SHARDS[0]: 999}, ["a tokenizer"]),
    ],
)
def test_what_a_list_lacks_is_named(listed: dict[str, int], lack: list[str]) -> None:
    assert list(model_facts.lacks(listed)) == lack


@pytest.mark.parametrize(
    ("listed", "weights_bytes"),
    [
        (LISTED, 5000),
        ({**LISTED, "onnx/a.safetensors": 700, "original/b.safetensors": 800}, 5000),
        ({**LISTED, "consolidated.safetensors": 4900}, 5000),
        ({"consolidated.safetensors": 4900, "params.json": 1}, 4900),
        ({"original/consolidated.00.pth": 700}, 0),
    ],
)
def test_weights_count_once_and_where_an_engine_looks(
    listed: dict[str, int], weights_bytes: int
) -> None:
    """Mistral's second copy, and the folders of other formats, doubled a model's size."""
    assert model_facts.weights_of(listed) == weights_bytes


def test_a_folder_without_weights_has_none(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).symlink_to(tmp_path / "cleared")
    assert model_facts.weights_in(tmp_path) == 0
