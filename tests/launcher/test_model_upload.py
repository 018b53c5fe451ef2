"""`python -m launcher model upload`, with ModelScope's real client against a hub on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.interpreter import REPOSITORY
from tests.fakes.hub import Hub
from tests.fakes.model_files import SHARDS, WEIGHTS, model_files, sharded_files, write_model

MODEL_ID = "someone/tiny-model"
TOKEN = "secret-token"
TEMPLATE = {"chat_template.jinja": b"{{ messages }}"}
FILES = {**model_files(), **TEMPLATE}
# Of the same sizes, as the checkpoints of one training are.
LATER_FILES = {**FILES, "config.json": FILES["config.json"].replace(b"qwen3", b"qwen4")}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub(MODEL_ID, {}, token=TOKEN) as running:
        running.uploads.is_missing = True
        yield running


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "mine", FILES)


def upload(
    hub: Hub, folder: Path, *options: str, token: str = TOKEN
) -> subprocess.CompletedProcess[str]:
    """Run the command; the client is told not to be patient, which it reads when it starts."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MODELSCOPE_") and not name.lower().endswith("_proxy")
    }
    home = folder.parent / "home"
    return subprocess.run(
        [
            *(sys.executable, "-m", "launcher", "model", "upload"),
            *(str(folder), "--to", MODEL_ID, *options),
        ],
        env=kept
        | {
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / "cache"),
            "MODELSCOPE_ENDPOINT": hub.url,
            "MODELSCOPE_API_TOKEN": token,
            "MODELSCOPE_REPO_TREE_PAGE_MAX_ATTEMPTS": "1",
            "MODELSCOPE_UPLOAD_RECOVERY_ENABLED": "0",
            "MODELSCOPE_UPLOAD_FAILED_FILE_MAX_RETRY_ROUNDS": "1",
            "MODELSCOPE_UPLOAD_BLOB_MAX_ATTEMPTS": "1",
            "MODELSCOPE_UPLOAD_COMMIT_MAX_ATTEMPTS": "1",
        },
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.strip().splitlines()[-1]


def puts(hub: Hub) -> int:
    return sum(asked.method == "PUT" for asked in hub.requests)


def test_a_folder_becomes_a_public_model(hub: Hub, model: Path) -> None:
    write_model(model, {"optimizer.pt": b"o", "checkpoint-5/rng_state.pth": b"r", ".git/x": b"g"})
    done = upload(hub, model)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{MODEL_ID}\n"
    assert hub.files == FILES
    assert hub.uploads.visibility == 5
    assert f"created {MODEL_ID}, public" in done.stderr
    assert last_line(done).endswith(f"has all 5 files of {MODEL_ID} (master)")
    assert {path.name for path in model.iterdir() if path.name.startswith(".")} == {".git"}


def test_a_model_can_be_private_and_on_another_branch(hub: Hub, model: Path) -> None:
    hub.revisions = ("v2",)
    done = upload(hub, model, "--private", "--revision", "v2")
    assert done.returncode == 0, done.stderr
    assert hub.uploads.visibility == 1
    assert [asked.path for asked in hub.requests if "/commit/" in asked.path] == [
        f"/api/v1/repos/models/{MODEL_ID}/commit/v2"
    ]


def test_what_was_sent_is_not_sent_again(hub: Hub, model: Path) -> None:
    assert upload(hub, model).returncode == 0
    sent = puts(hub)
    (model / "config.json").write_bytes(b'{"model_type": "qwen3", "changed": true}')
    done = upload(hub, model)
    assert done.returncode == 0, done.stderr
    assert "is there already, and stays as visible as it is" in done.stderr
    assert puts(hub) == sent
    assert hub.files["config.json"] == b'{"model_type": "qwen3", "changed": true}'


def test_an_upload_that_failed_goes_on_where_it_was(hub: Hub, model: Path) -> None:
    hub.uploads.refuses_commits = True
    assert upload(hub, model).returncode == 1
    sent = puts(hub)
    assert sent
    hub.uploads.refuses_commits = False
    done = upload(hub, model)
    assert done.returncode == 0, done.stderr
    assert puts(hub) == sent
    assert hub.files == FILES


def test_a_model_that_was_deleted_there_is_sent_whole_again(hub: Hub, model: Path) -> None:
    assert upload(hub, model).returncode == 0
    hub.files.clear()
    hub.uploads.is_missing = True
    done = upload(hub, model)
    assert done.returncode == 0, done.stderr
    assert hub.files == FILES


def test_an_earlier_checkpoint_is_sent_again_after_a_later_one(hub: Hub, model: Path) -> None:
    """The client's notes of the first upload outlived it: nothing was sent, and that succeeded."""
    later = write_model(model.parent / "later", LATER_FILES)
    for folder in (model, later, model):
        done = upload(hub, folder)
        assert done.returncode == 0, done.stderr
    assert hub.files == FILES


def test_notes_that_another_upload_made_untrue_are_not_believed(hub: Hub, model: Path) -> None:
    """Files of the same size were taken for the same files."""
    hub.claimed_bytes = {WEIGHTS: 5}  # so that the first one's notes are kept
    assert upload(hub, model).returncode == 1
    hub.claimed_bytes.clear()
    assert upload(hub, write_model(model.parent / "later", LATER_FILES)).returncode == 0
    done = upload(hub, model)
    assert done.returncode == 0, done.stderr
    assert hub.files == FILES


def test_another_content_of_the_same_size_is_told(hub: Hub, model: Path) -> None:
    hub.wrong_sha256 = {"config.json"}
    done = upload(hub, model)
    assert done.returncode == 1
    assert f"does not list config.json of {MODEL_ID} (master) as sent" in last_line(done)


def test_a_hub_that_tells_no_checksums_is_believed(hub: Hub, model: Path) -> None:
    hub.tells_sha256 = False
    done = upload(hub, model)
    assert done.returncode == 0, done.stderr


def test_what_an_earlier_model_left_is_told(hub: Hub, model: Path) -> None:
    """A build fetched the old index and shards with the new file, and the old were served."""
    earlier = {**sharded_files(), "chat_template.json": b"{}", "training_args.bin": b"a"}
    kept = {"configuration.json": b"{}", "README.md": b"mine", ".gitattributes": b"*"}
    hub.uploads.is_missing = False
    hub.files.update(earlier | kept)
    done = upload(hub, model)
    assert done.returncode == 1
    assert done.stdout == ""
    left = ", ".join(["chat_template.json", *SHARDS, f"{WEIGHTS}.index.json"])
    assert f"also {left} of another model" in last_line(done)
    assert last_line(done).endswith("or upload to a new id")
    assert "has all 5 files" not in done.stderr

    hub.files = FILES | kept  # as its owner leaves it
    done = upload(hub, model)
    assert done.returncode == 0, done.stderr


def test_what_the_hub_does_not_list_afterwards_is_told(hub: Hub, model: Path) -> None:
    hub.claimed_bytes = {WEIGHTS: 5}
    done = upload(hub, model)
    assert done.returncode == 1
    assert f"does not list {WEIGHTS} of {MODEL_ID} (master) as sent" in last_line(done)


def test_a_refused_token_is_told_before_anything_is_sent(hub: Hub, model: Path) -> None:
    done = upload(hub, model, token="bad-token")
    assert done.returncode == 3
    assert f"{hub.url} refused MODELSCOPE_API_TOKEN for {MODEL_ID} (master)" in last_line(done)
    assert "bad-token" not in done.stdout + done.stderr
    assert [asked.path for asked in hub.requests] == ["/api/v1/models"]


def test_a_missing_token_is_told(hub: Hub, model: Path) -> None:
    done = upload(hub, model, token="")
    assert done.returncode == 3
    assert "uploading needs MODELSCOPE_API_TOKEN" in last_line(done)
    assert hub.requests == []


def test_a_refused_commit_is_told_with_the_hubs_reason(hub: Hub, model: Path) -> None:
    hub.uploads.is_missing = False
    hub.uploads.refuses_commits = True
    done = upload(hub, model)
    assert done.returncode == 1
    assert "you may not write to this model" in last_line(done)
    assert TOKEN not in done.stderr


def test_a_refused_file_is_told_by_its_name(hub: Hub, model: Path) -> None:
    hub.uploads.refuses_blobs = True
    done = upload(hub, model)
    assert done.returncode == 1
    assert WEIGHTS in last_line(done)
    assert "over your quota" in last_line(done)


@pytest.mark.parametrize(
    ("lost", "told"), [(WEIGHTS, "no weights"), ("tokenizer.json", "no tokenizer.json")]
)
def test_a_model_that_is_not_whole_is_not_sent(lost: str, told: str, hub: Hub, model: Path) -> None:
    (model / lost).unlink()
    done = upload(hub, model)
    assert done.returncode == 3
    assert told in last_line(done)
    assert hub.requests == []


def test_weights_that_are_only_a_pointer_are_not_sent(hub: Hub, model: Path) -> None:
    (model / WEIGHTS).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    done = upload(hub, model)
    assert done.returncode == 3
    assert "is a Git LFS pointer, not the file" in last_line(done)


def test_a_missing_chat_template_is_warned_of(hub: Hub, model: Path) -> None:
    (model / "chat_template.jinja").unlink()
    done = upload(hub, model)
    assert done.returncode == 0, done.stderr
    assert "the model has no chat template" in done.stderr


def test_an_adapter_is_whole_without_a_tokenizer(hub: Hub, tmp_path: Path) -> None:
    files = {
        "adapter_config.json": b'{"r": 8}',
        "adapter_model.safetensors": model_files()[WEIGHTS],
    }
    done = upload(hub, write_model(tmp_path / "adapter", files))
    assert done.returncode == 0, done.stderr
    assert hub.files == files


def test_an_id_of_another_shape_is_refused(hub: Hub, model: Path) -> None:
    done = upload(hub, model, "--to", "tiny-model")
    assert done.returncode == 3
    assert "--to 'tiny-model' is no ModelScope model id" in last_line(done)
