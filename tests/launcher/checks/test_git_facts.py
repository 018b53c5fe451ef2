from pathlib import Path

import pytest

from launcher.checks import git_facts
from launcher.checks.git_facts import GitFailed
from tests.launcher.checkouts import checkout, commit, git, write

pytestmark = pytest.mark.anyio


async def test_a_checkout_that_was_pushed_holds_nothing_back(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "work", {"Dockerfile": "FROM x", "文件 a.txt": "text"})
    facts = await git_facts.look(folder)
    assert (facts.branch, facts.upstream, facts.n_unpushed) == ("main", "origin/main", 0)
    assert (facts.changed, facts.untracked) == ((), ())
    assert facts.tracked == {"Dockerfile", "文件 a.txt"}
    assert [(file.path, file.n_bytes) for file in facts.files] == [
        ("Dockerfile", 6),
        ("文件 a.txt", 4),
    ]
    assert facts.store_bytes > 0


async def test_what_was_not_pushed_is_counted(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "work", {"a": "1", "b c": "1"})
    write(folder, {"a": "2"})
    commit(folder)
    write(folder, {"b c": "2", "new file": "x"})
    facts = await git_facts.look(folder)
    assert (facts.n_unpushed, facts.changed) == (1, ("b c",))
    assert facts.untracked == ("new file",)


async def test_conflicts_count_as_changes(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "work", {"a b": "1"})
    git(folder, "checkout", "--quiet", "-b", "other")
    write(folder, {"a b": "2"})
    commit(folder)
    git(folder, "checkout", "--quiet", "main")
    write(folder, {"a b": "3"})
    commit(folder)
    with pytest.raises(Exception, match="merge"):
        git(folder, "merge", "other")
    assert (await git_facts.look(folder)).changed == ("a b",)


async def test_a_file_that_was_deleted_is_still_pushed(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "work", {"small": "x"})
    write(folder, {"large": b"x" * 1000})
    commit(folder)
    (folder / "large").unlink()
    commit(folder)
    assert (await git_facts.look(folder)).files[0] == git_facts.File("large", 1000)


async def test_a_branch_of_its_own_follows_none(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "work", {"a": "1"})
    git(folder, "checkout", "--quiet", "-b", "mine")
    facts = await git_facts.look(folder)
    assert (facts.branch, facts.upstream, facts.n_unpushed) == ("mine", None, 0)


async def test_a_clone_of_an_empty_repository_was_never_pushed(tmp_path: Path) -> None:
    """It follows a branch that is not there, and was told as pushed."""
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "remote.git")
    git(tmp_path, "clone", "--quiet", "remote.git", "work")
    folder = tmp_path / "work"
    write(folder, {"a": "1"})
    commit(folder)
    facts = await git_facts.look(folder)
    assert (facts.branch, facts.upstream, facts.n_unpushed) == ("main", "origin/main", None)


async def test_a_folder_without_git_is_told(tmp_path: Path) -> None:
    with pytest.raises(GitFailed, match="git status: .*not a git repository"):
        await git_facts.look(tmp_path)


async def test_a_machine_without_git_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitFailed, match="git is not installed"):
        await git_facts.look(tmp_path)


async def test_a_git_that_hangs_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "git"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(GitFailed, match="git status took over 1 s"):
        await git_facts.git(tmp_path, "status", timeout_s=1)
