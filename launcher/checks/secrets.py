"""Owns the search for secrets in tracked files. It tells where, and never shows what."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from launcher.checks import git_facts
from launcher.checks.result import Result, failure, ok, skipped, some_of
from launcher.settings import LauncherSettings, secret_names

NAME = "secrets"
# A shorter value, like "test", is in many a file by chance.
MIN_SECRET_CHARS = 8
# ModelScope's tokens, Hugging Face's, GitHub's, private keys, and any value given to our own name.
PATTERNS = (
    r"\bms-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
    r"\bhf_[A-Za-z0-9]{30,}\b",
    r"\bgh[pousr]_[A-Za-z0-9]{36,}\b",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    r"MODELSCOPE_API_TOKEN[=:][\"' ]*[A-Za-z0-9][A-Za-z0-9-]{19,}",
)


def values(settings: LauncherSettings) -> list[str]:
    """Return the secrets that are set here and long enough to be looked for."""
    held = [getattr(settings, name) for name in sorted(secret_names())]
    told = [secret.get_secret_value() for secret in held if secret is not None]
    return [value for value in told if len(value) >= MIN_SECRET_CHARS and "\n" not in value]


async def find(repository: Path, secrets: Sequence[str]) -> list[str]:
    """Return `path:line` of whatever looks like a secret, or is one of `secrets`.

    Raises GitFailed. The values go through a pipe: a command line can be read by others.
    """
    searches: list[tuple[str, Sequence[str]]] = [("-E", PATTERNS)]
    if secrets:
        searches.append(("-F", secrets))
    found: set[str] = set()
    for kind, patterns in searches:
        text = "\n".join(patterns) + "\n"
        # Exit code 1: nothing found.
        output = await git_facts.git(
            repository, "grep", "-I", "-n", "-z", kind, "-f", "-", text=text, answers=(1,)
        )
        found |= set(_places(output))
    return sorted(found)


def _places(output: str) -> list[str]:
    """Read `path NUL line NUL text` per line; the text is left unread."""
    rows = [line.split("\0", 2) for line in output.split("\n") if line.count("\0") >= 2]
    return [f"{row[0]}:{row[1]}" for row in rows]


def check(found: Sequence[str] | None, tracked: Collection[str], why_not: str = "") -> Result:
    """Judge what was found in tracked files; None when they could not be searched."""
    if found is None:
        return skipped(NAME, why_not)
    files = [path for path in sorted(tracked) if Path(path).name == ".env"]
    places = [*found, *files]
    if places:
        return failure(
            NAME,
            f"{some_of(places, 5)} (not shown)",
            "take it out and revoke it: what was pushed once stays readable. Tokens are passed "
            "to the build, never committed",
        )
    return ok(NAME, f"none in {len(tracked)} tracked files")
