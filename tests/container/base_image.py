"""The base that the Dockerfile is built on here: Debian with vLLM for CPUs, made once and kept."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from launcher.engine_install import MISMATCHED, choose_torch, exact_torch
from launcher.pythons import find_pythons
from tests.container import pip_settings
from tests.container.tools import buildah, has_image, podman, temporary

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPE = Path(__file__).with_name("base.Dockerfile")
ENGINE = REPOSITORY / "requirements/engine-cpu.txt"
SUITE = "bookworm"
# Its Python, which is what the engine's torch has to be built for.
PYTHON = (3, 11)
# libnuma1 and util-linux's lscpu: vLLM for CPUs looks at the machine with them.
PACKAGES = "ca-certificates,libnuma1,python3,python3-venv"


def ensure_base() -> str:
    """Return the name of the base image, made now (some minutes) unless it is there."""
    key = _key()
    name, debian = f"localhost/evalgate-base:{key}", f"localhost/evalgate-debian:{key}"
    if not has_image(name):
        _say(f"making the base image {name}, once")
        start = time.monotonic()
        if not has_image(debian):
            _make_debian(debian)
        _install_engine(name, debian)
        _say(f"made in {time.monotonic() - start:.0f} s")
    return name


def _key() -> str:
    """Hash all that decides what is in it; comments do not."""
    digest = hashlib.sha256(f"{SUITE} {PACKAGES}".encode())
    for file in (RECIPE, ENGINE):
        lines = file.read_text(encoding="utf-8").splitlines()
        digest.update("\n".join(line for line in lines if not line.startswith("#")).encode())
    return digest.hexdigest()[:12]


def _make_debian(name: str) -> None:
    with tempfile.TemporaryDirectory(dir=temporary()) as folder:
        root, archive = f"{folder}/root", f"{folder}/root.tar"
        options = ["--variant=minbase", f"--include={PACKAGES}"]
        subprocess.run(["debootstrap", *options, SUITE, root], check=True, stdout=sys.stderr)
        # What apt has fetched is of no use in an image.
        shutil.rmtree(f"{root}/var/cache/apt/archives")
        subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)
        subprocess.run(podman("import", archive, name), check=True, stdout=sys.stderr)


def _install_engine(name: str, debian: str) -> None:
    torch = exact_torch(ENGINE.read_text(encoding="utf-8"))
    assert torch is not None
    pythons = find_pythons([PYTHON]) or [Path(sys.executable)]
    _, pip_arguments = choose_torch(pythons, torch)
    arguments = {
        "DEBIAN": debian,
        "PIP_OPTIONS": " ".join(pip_arguments),
        "MISMATCHED": " ".join(MISMATCHED),
    }
    options = [part for item in arguments.items() for part in ("--build-arg", "=".join(item))]
    with tempfile.TemporaryDirectory(dir=temporary()) as folder:
        mounts = pip_settings.mounts(Path(folder))
        argv = buildah("bud", "--isolation", "chroot", *mounts, *options)
        subprocess.run(
            [*argv, "--file", str(RECIPE), "--tag", name, str(ENGINE.parent)],
            check=True,
            stdout=sys.stderr,
        )


def _say(line: str) -> None:
    print(f"== {line}", file=sys.stderr, flush=True)
