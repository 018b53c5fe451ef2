import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import models
from launcher.errors import CannotStart, LauncherError
from launcher.interpreter import REPOSITORY
from tests.fakes.hub import Hub
from tests.fakes.model_files import (
    SHARDS,
    WEIGHTS,
    model_files,
    safetensors,
    sharded_files,
    write_model,
)

MODEL_ID = "someone/tiny-model"


def contents(path: Path) -> dict[str, bytes]:
    files = [file for file in path.rglob("*") if file.is_file() and file.name != models.STAMP_NAME]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An impatient client with a home folder of its own, no credentials and no proxy.

    The client reads all of that once, when it is imported, which is before the first test.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("MODELSCOPE_") or name.lower().endswith("_proxy"):
                patch.delenv(name)
        path = tmp_path_factory.mktemp("home")
        patch.setenv("HOME", str(path))
        patch.setenv("MODELSCOPE_DOWNLOAD_MAX_RETRIES", "1")
        patch.setenv("MODELSCOPE_REPO_TREE_PAGE_MAX_ATTEMPTS", "1")
        patch.setenv("TQDM_MININTERVAL", "10")
        import modelscope.hub.snapshot_download  # noqa: F401

        yield path


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub(MODEL_ID, model_files()) as running:
        yield running


def fetch(
    hub: Hub,
    root: Path,
    *,
    model_id: str = MODEL_ID,
    revision: str | None = None,
    token: str | None = None,
    budget_s: float = 0,
) -> Path:
    return models.fetch(model_id, revision, root, token, hub.url, budget_s=budget_s)


def test_fetch_brings_every_file_and_shows_progress(
    hub: Hub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = fetch(hub, tmp_path)
    assert path == tmp_path / "someone" / "tiny-model"
    assert contents(path) == hub.files
    out, err = capfd.readouterr()
    assert out == ""
    assert "4/4" in err


def test_fetch_of_a_complete_folder_asks_the_hub_nothing_and_says_so(
    hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "launcher")
    path = fetch(hub, tmp_path)
    hub.requests.clear()
    assert fetch(hub, tmp_path, revision="master") == path
    assert hub.requests == []
    assert caplog.messages[-1] == (
        f"using the copy of {MODEL_ID} (master) that is in {path}; "
        f"{hub.url} is not asked for a newer one"
    )


def test_fetch_replaces_a_file_that_was_lost_or_damaged_after_the_download(
    hub: Hub, tmp_path: Path
) -> None:
    path = fetch(hub, tmp_path)
    (path / "config.json").unlink()
    (path / WEIGHTS).write_bytes(b"damaged")
    hub.requests.clear()
    fetch(hub, tmp_path)
    assert contents(path) == hub.files
    assert not hub.downloads("tokenizer.json")


def test_a_cut_download_goes_on_within_the_same_call(hub: Hub, tmp_path: Path) -> None:
    hub.cuts = {WEIGHTS: [1_000_000]}
    path = fetch(hub, tmp_path)
    assert contents(path) == hub.files
    first, second = hub.downloads(WEIGHTS)
    assert "range" not in first.headers
    assert second.headers["range"] == "bytes=1000000-"


def test_an_interrupted_download_goes_on_in_the_next_call(hub: Hub, tmp_path: Path) -> None:
    hub.cuts = {WEIGHTS: [1_000_000, 500_000]}
    with pytest.raises(LauncherError, match=f"connection to {hub.url} failed") as failure:
        fetch(hub, tmp_path)
    assert failure.value.exit_code == 1
    assert WEIGHTS in str(failure.value)
    hub.requests.clear()
    path = fetch(hub, tmp_path)
    assert contents(path) == hub.files
    assert [asked.headers["range"] for asked in hub.downloads(WEIGHTS)] == ["bytes=1500000-"]


def test_another_revision_leaves_no_weights_of_the_first(hub: Hub, tmp_path: Path) -> None:
    """A stale index made the engine load the old revision's shards."""
    hub.revisions = ("master", "v2")
    hub.files = sharded_files()
    fetch(hub, tmp_path)
    hub.files = model_files()
    path = fetch(hub, tmp_path, revision="v2")
    assert contents(path) == hub.files
    asked = [request.query["Revision"] for request in hub.downloads(WEIGHTS)]
    assert asked == ["v2"]


def test_an_interrupted_revision_leaves_no_weights_to_another(hub: Hub, tmp_path: Path) -> None:
    hub.revisions = ("master", "v2")
    hub.files = sharded_files()
    hub.gone = {"tokenizer.json"}
    with pytest.raises(LauncherError):
        fetch(hub, tmp_path)
    hub.files, hub.gone = model_files(), set()
    assert contents(fetch(hub, tmp_path, revision="v2")) == hub.files


def test_another_revision_leaves_nothing_that_an_engine_reads(hub: Hub, tmp_path: Path) -> None:
    """The first one's chat template was served with the second, which has its own elsewhere."""
    hub.revisions = ("master", "v2")
    hub.files = {**model_files(), "chat_template.jinja": b"old", "generation_config.json": b"{}"}
    path = fetch(hub, tmp_path)
    hub.files = model_files()
    fetch(hub, tmp_path, revision="v2")
    assert contents(path) == hub.files


def test_a_branch_that_moved_leaves_nothing_of_what_was_fetched_in_part(
    hub: Hub, tmp_path: Path
) -> None:
    """The old index stayed beside the new single file, and its shards were served."""
    hub.files = sharded_files()
    hub.gone = {"tokenizer.json"}
    with pytest.raises(LauncherError):
        fetch(hub, tmp_path)
    hub.files, hub.gone = model_files(), set()
    assert contents(fetch(hub, tmp_path)) == hub.files


def test_a_folder_that_no_fetch_made_loses_nothing(hub: Hub, tmp_path: Path) -> None:
    path = write_model(tmp_path / MODEL_ID, {"chat_template.jinja": b"mine", "own.bin": b"mine"})
    fetch(hub, tmp_path)
    assert contents(path) == {**hub.files, "chat_template.jinja": b"mine", "own.bin": b"mine"}


def test_a_chat_template_that_was_put_beside_the_model_stays(hub: Hub, tmp_path: Path) -> None:
    hub.revisions = ("master", "v2")
    path = write_model(fetch(hub, tmp_path), {"chat_template.jinja": b"mine"})
    (path / WEIGHTS).unlink()
    fetch(hub, tmp_path)
    fetch(hub, tmp_path, revision="v2")
    assert contents(path) == {**hub.files, "chat_template.jinja": b"mine"}


def test_what_another_revision_left_is_still_to_come(
    hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file of the same size was taken for there, deleted, and its budget was for nothing."""
    caplog.set_level(logging.INFO, "launcher")
    hub.revisions = ("master", "v2")
    fetch(hub, tmp_path)
    hub.files = {**model_files(), WEIGHTS: safetensors(3_000_000, seed=1)}
    caplog.clear()
    assert contents(fetch(hub, tmp_path, revision="v2")) == hub.files
    assert caplog.messages[-1].startswith("3.0 MB of 3.0 MB fetched in ")


def test_what_is_there_in_part_is_not_continued_by_another_revision(
    hub: Hub, tmp_path: Path
) -> None:
    """The client went on where the other revision's file was cut; the sum was wrong at the end."""
    hub.revisions = ("master", "v2")
    hub.cuts = {WEIGHTS: [1_000_000, 500_000]}
    with pytest.raises(LauncherError, match="connection to"):
        fetch(hub, tmp_path)
    piece = tmp_path / MODEL_ID / f"{WEIGHTS}_0_99"  # as several streams leave it
    piece.write_bytes(b"x")
    hub.files = {**model_files(), WEIGHTS: safetensors(3_000_000, seed=1)}
    hub.requests.clear()
    assert contents(fetch(hub, tmp_path, revision="v2")) == hub.files
    (asked,) = hub.downloads(WEIGHTS)
    assert "range" not in asked.headers


@pytest.mark.parametrize(
    "model_id", ["", "name", "a/b/c", "../etc/passwd", "a/..", "a/b..c", "a b/c", "/a", "模型/a"]
)
def test_a_model_id_of_another_shape_is_refused(model_id: str, hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="MODEL_ID .* must be owner/name"):
        fetch(hub, tmp_path, model_id=model_id)
    assert hub.requests == []


def test_an_unknown_model_is_named(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"has no someone/other \(master\).* needs a token"):
        fetch(hub, tmp_path, model_id="someone/other")


def test_a_model_that_goes_away_in_between_is_named(hub: Hub, tmp_path: Path) -> None:
    hub.listings_left = 1
    with pytest.raises(CannotStart, match=r"has no someone/tiny-model \(master\)"):
        fetch(hub, tmp_path)


def test_an_unknown_revision_is_named(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"\(v9\), or it is private and MODELSCOPE_API_TOKEN may"):
        fetch(hub, tmp_path, revision="v9", token="secret-token")


def test_a_good_token_opens_the_model_and_is_written_nowhere(
    hub: Hub, tmp_path: Path, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.token = "secret-token"
    fetch(hub, tmp_path, token="secret-token")
    written = contents(tmp_path) | contents(home)
    assert not [name for name, data in written.items() if b"secret-token" in data]
    assert "secret-token" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_said_but_not_shown(status: int, hub: Hub, tmp_path: Path) -> None:
    hub.token, hub.refusal = "secret-token", status
    with pytest.raises(CannotStart, match="refused MODELSCOPE_API_TOKEN") as failure:
        fetch(hub, tmp_path, token="bad-token")
    assert failure.value.exit_code == 3
    assert "bad-token" not in str(failure.value)
    assert "\n" not in str(failure.value)
    assert failure.value.__cause__ is not None


def test_a_missing_token_is_asked_for(hub: Hub, tmp_path: Path) -> None:
    hub.token = "secret-token"
    with pytest.raises(CannotStart, match="wants a MODELSCOPE_API_TOKEN"):
        fetch(hub, tmp_path)


def test_a_hub_that_repeats_the_token_does_not_get_it_printed(hub: Hub, tmp_path: Path) -> None:
    hub.token = "secret-token"
    hub.refusal = 403
    with pytest.raises(CannotStart, match=r"for .*: .*\*\*\*"):
        fetch(hub, tmp_path, token="token")  # the refusal reads "token refused"


def test_a_request_the_hub_rejects_cannot_start(hub: Hub, tmp_path: Path) -> None:
    hub.token, hub.refusal = "secret-token", 400
    with pytest.raises(CannotStart, match=r"does not accept someone/tiny-model \(master\)"):
        fetch(hub, tmp_path)


def test_an_unreachable_hub_is_named(tmp_path: Path) -> None:
    with Hub(MODEL_ID, {}) as hub:
        gone = hub.url
    with pytest.raises(LauncherError, match=f"connection to {gone} failed") as failure:
        models.fetch(MODEL_ID, None, tmp_path, None, gone)
    assert failure.value.exit_code == 1
    assert "\n" not in str(failure.value)


def test_an_answer_that_is_not_the_hub_s_is_one_line(hub: Hub, tmp_path: Path) -> None:
    hub.listing_body = b"<html>log in to this network</html>"
    with pytest.raises(LauncherError, match=f"could not fetch .* from {hub.url}") as failure:
        fetch(hub, tmp_path)
    assert "\n" not in str(failure.value)


def test_a_wrong_hash_is_an_integrity_error(hub: Hub, tmp_path: Path) -> None:
    hub.wrong_sha256 = {"tokenizer.json"}
    with pytest.raises(LauncherError, match="came damaged from .*tokenizer.json") as failure:
        fetch(hub, tmp_path)
    assert failure.value.exit_code == 1
    assert not (tmp_path / MODEL_ID / "tokenizer.json").exists()


def test_a_wrong_size_is_an_integrity_error(hub: Hub, tmp_path: Path) -> None:
    hub.wrong_size = {"tokenizer.json"}
    with pytest.raises(LauncherError, match="came damaged from .*tokenizer.json"):
        fetch(hub, tmp_path)


def test_what_no_retry_cures_is_told_before_what_one_might(hub: Hub, tmp_path: Path) -> None:
    hub.cuts = {WEIGHTS: [10, 10]}
    hub.gone = {"tokenizer.json"}
    with pytest.raises(CannotStart, match="tokenizer.json: "):
        fetch(hub, tmp_path)


def test_a_full_disk_is_said(hub: Hub, tmp_path: Path) -> None:
    partial = tmp_path / MODEL_ID / f"{WEIGHTS}.incomplete"  # the client's name for it
    partial.parent.mkdir(parents=True)
    partial.symlink_to("/dev/full")
    with pytest.raises(LauncherError, match="no space left for .*model.safetensors") as failure:
        fetch(hub, tmp_path)
    assert failure.value.exit_code == 1


def test_a_model_larger_than_the_disk_is_not_begun(hub: Hub, tmp_path: Path) -> None:
    hub.claimed_bytes = {WEIGHTS: 10**18}
    with pytest.raises(
        LauncherError, match=r"no space for .* 1000000000.0 GB are still"
    ) as failure:
        fetch(hub, tmp_path)
    assert failure.value.exit_code == 1
    assert not hub.downloads("config.json")
    assert not (tmp_path / MODEL_ID).exists()


def test_what_is_there_already_needs_no_space(
    hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "launcher")
    hub.cuts = {WEIGHTS: [1_000_000, 500_000]}
    with pytest.raises(LauncherError):
        fetch(hub, tmp_path)
    caplog.clear()
    fetch(hub, tmp_path)
    told = [record.message for record in caplog.records if record.name.startswith("launcher")]
    assert told[0] == (
        "fetching someone/tiny-model (master): 3.0 MB in 4 files, 1.5 MB of them there already"
    )
    assert told[-1].startswith("1.5 MB of 1.5 MB fetched in ")


def test_a_download_that_stands_still_ends_with_its_budget(hub: Hub, tmp_path: Path) -> None:
    hub.stalls = {WEIGHTS: 1_000_000}
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(LauncherError, match="MODEL_DOWNLOAD_BUDGET_S=10") as failure:
        fetch(hub, tmp_path, budget_s=10)
    assert "1.0 MB of 3.0 MB fetched" in str(failure.value)
    assert failure.value.exit_code == 1
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    hub.requests.clear()
    hub.stalls.clear()
    fetch(hub, tmp_path, budget_s=60)
    assert [asked.headers["range"] for asked in hub.downloads(WEIGHTS)] == ["bytes=1000000-"]


def test_a_revision_that_does_not_exist_costs_the_one_that_is_there_nothing(
    hub: Hub, tmp_path: Path
) -> None:
    """A mistyped revision deleted the weights of the one before."""
    path = fetch(hub, tmp_path)
    with pytest.raises(CannotStart, match=r"\(v9\)"):
        fetch(hub, tmp_path, revision="v9")
    assert contents(path) == hub.files
    hub.requests.clear()
    fetch(hub, tmp_path)
    assert hub.requests == []


def test_weights_that_are_only_a_pointer_are_told(hub: Hub, tmp_path: Path) -> None:
    hub.files[WEIGHTS] = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    with pytest.raises(CannotStart, match=f"{WEIGHTS} is a Git LFS pointer"):
        fetch(hub, tmp_path)


def test_a_shard_that_the_index_names_and_the_hub_lacks_is_told(hub: Hub, tmp_path: Path) -> None:
    hub.files = sharded_files()
    del hub.files[SHARDS[1]]
    with pytest.raises(CannotStart, match=f"{SHARDS[1]} is missing"):
        fetch(hub, tmp_path)


def test_without_an_endpoint_the_client_looks_for_the_site(hub: Hub, tmp_path: Path) -> None:
    """Its choice is read once, when it is imported: by a program of its own."""
    code = "import sys; from pathlib import Path; from launcher.models import fetch; "
    code += "fetch(sys.argv[1], None, Path(sys.argv[2]), None)"
    subprocess.run(
        [sys.executable, "-c", code, MODEL_ID, str(tmp_path)],
        env={**os.environ, "MODELSCOPE_ENDPOINT": hub.url},
        cwd=REPOSITORY,
        timeout=60,
        check=True,
    )
    assert contents(tmp_path / MODEL_ID) == hub.files


def test_a_model_without_weights_is_fetched_and_refused(hub: Hub, tmp_path: Path) -> None:
    del hub.files[WEIGHTS]
    with pytest.raises(CannotStart, match="no weights"):
        fetch(hub, tmp_path)
    hub.requests.clear()
    with pytest.raises(CannotStart, match="no weights"):
        fetch(hub, tmp_path)
    assert hub.requests  # what was refused is not taken for complete


def test_a_folder_that_cannot_be_written_is_named(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "someone").write_text("a file where the owner's folder belongs")
    with pytest.raises(LauncherError, match=f"could not fetch .* into {tmp_path}"):
        fetch(hub, tmp_path)
