"""Owns which model is meant and what is known of it: from the hub, a folder, or a size given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from launcher.checks import hub_listing
from launcher.model_folder import read_object, tokenizer_files
from launcher.resolve import pocket_dir
from launcher.settings import LauncherSettings

_WEIGHT_ENDINGS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")
# What Mistral puts beside the same weights under the usual names.
_SECOND_COPY = "consolidated"
# A pointer has about 130; the smallest file of weights has a header longer than that.
_MIN_WEIGHT_BYTES = 200
# scripts/serve trains it in a minute.
POCKET = "none: the pocket model is trained in the build, in a minute or more"
NOT_HERE = "the model is not here; it is fetched in the build"


@dataclass(frozen=True)
class ModelFacts:
    """What is known of the model; None for what is not, with the reason in `origin`."""

    # Where the sizes are from, or why there are none.
    origin: str
    # What the build downloads.
    download_bytes: int | None = None
    weights_bytes: int | None = None
    # Holds at least the small files; None when not even those are at hand.
    folder: Path | None = None
    # The folder is the model's own, with its weights, not a copy of the small files.
    is_local: bool = False
    # What the hub's list lacks for an engine to start.
    lacks: tuple[str, ...] = ()
    # Why the hub will not give the model to a build either.
    refusal: str = ""

    @property
    def config(self) -> Mapping[str, Any]:
        """The model's config.json, empty when there is none."""
        return (read_object(self.folder / "config.json") if self.folder else None) or {}


async def gather(
    settings: LauncherSettings,
    environ: Mapping[str, str],
    *,
    given_bytes: int | None,
    is_offline: bool,
    is_for_track: bool,
    scratch: Path,
) -> ModelFacts:
    """Find out about the model; small files from the hub go into `scratch`."""
    if given_bytes is not None and settings.model_id is None and settings.model_dir is None:
        return _as_given(ModelFacts(""), given_bytes)
    facts = from_folder(settings)
    if settings.model_dir is None and settings.model_id is not None and not is_offline:
        listing = await hub_listing.ask(settings, scratch, environ)
        if is_for_track and listing.sizes:
            # The build has what it fetches, however much of that is here.
            facts = replace(facts, is_local=False)
        facts = with_listing(facts, listing, settings.model_id, scratch)
    return facts if given_bytes is None else _as_given(facts, given_bytes)


def from_folder(settings: LauncherSettings) -> ModelFacts:
    """Return what the files on this machine tell."""
    folder = local_folder(settings)
    facts = _without_files(settings)
    if not folder.is_dir():
        return facts
    if facts.origin != POCKET:
        facts = ModelFacts("the local folder", folder_bytes(folder))
    return replace(facts, weights_bytes=weights_in(folder), folder=folder, is_local=True)


def _without_files(settings: LauncherSettings) -> ModelFacts:
    if settings.model_dir is not None:
        return ModelFacts(f"MODEL_DIR={settings.model_dir} is not there")
    if settings.model_id is not None:
        return ModelFacts(f"no size of MODEL_ID={settings.model_id}")
    return ModelFacts(POCKET, 0)


def with_listing(
    facts: ModelFacts, listing: hub_listing.Listing, model_id: str, small_files: Path
) -> ModelFacts:
    """Return the facts with what the hub told: its sizes are what the build will download."""
    if not listing.sizes:
        reason = listing.problem or f"ModelScope lists no file of {model_id}"
        origin = f"{facts.origin}; {reason}"
        return replace(facts, origin=origin, refusal=reason if listing.is_refused else "")
    has_small_files = (small_files / "config.json").is_file()
    return replace(
        facts,
        origin=f"ModelScope's list of {len(listing.sizes)} files",
        download_bytes=sum(listing.sizes.values()),
        weights_bytes=facts.weights_bytes if facts.is_local else weights_of(listing.sizes),
        folder=small_files if has_small_files and not facts.is_local else facts.folder,
        lacks=tuple(lacks(listing.sizes)),
    )


def lacks(listed: Mapping[str, int]) -> Iterator[str]:
    """Yield what a list of files, with their sizes, lacks for an engine to start."""
    if "config.json" not in listed:
        yield "config.json"
    if not tokenizer_files(listed):
        yield "a tokenizer"
    weights = {path: size for path, size in listed.items() if path.endswith(_WEIGHT_ENDINGS)}
    if not weights:
        yield "weights"
    for path, size in weights.items():
        if size < _MIN_WEIGHT_BYTES:
            yield f"the weights of {path} ({size} bytes: a Git LFS pointer?)"


def weights_of(listed: Mapping[str, int]) -> int:
    """Return the size of the weights among files: of the one format that an engine would load.

    An engine looks at the folder itself, not at folders in it.
    """
    top = {path: size for path, size in listed.items() if "/" not in path}
    once = {path: size for path, size in top.items() if not path.startswith(_SECOND_COPY)}
    sizes = (
        sum(size for path, size in files.items() if path.endswith(ending))
        for ending in _WEIGHT_ENDINGS
        for files in (once, top)
    )
    return next((size for size in sizes if size), 0)


def local_folder(settings: LauncherSettings) -> Path:
    """Return where the model is or would be, whole or not."""
    if settings.model_dir is not None:
        return settings.model_dir
    if settings.model_id is not None:
        return settings.model_root / settings.model_id
    shipped = settings.model_root / "pocket"
    return shipped if shipped.is_dir() else pocket_dir(settings.cache_dir)


def folder_bytes(folder: Path) -> int:
    """Return the size of all files in a folder, without hidden ones."""
    files = (path for path in folder.rglob("*") if not path.name.startswith("."))
    return sum(path.stat().st_size for path in files if path.is_file())


def weights_in(folder: Path) -> int:
    """Return the size of the weights that an engine would load: one format of them."""
    # A link into a cache that was cleared is no file.
    files = (path for path in folder.glob("*.*") if path.is_file())
    return weights_of({path.name: path.stat().st_size for path in files})


def _as_given(facts: ModelFacts, n_bytes: int) -> ModelFacts:
    # What is said by hand wins: it is about a model that is not at hand.
    return replace(facts, origin="as given", download_bytes=n_bytes, weights_bytes=n_bytes)
