"""Owns which kind of engine the settings mean."""

from __future__ import annotations

from launcher.engines import sglang, transformers, triton, vllm, vllm_mindspore
from launcher.engines.kind import EngineKind
from launcher.errors import CannotStart
from launcher.ladder import Rung
from launcher.settings import LauncherSettings

KINDS = {
    kind.name: kind
    for kind in (vllm.KIND, sglang.KIND, vllm_mindspore.KIND, transformers.KIND, triton.CHAT)
}


def kind_of(settings: LauncherSettings, rung: Rung | None = None) -> EngineKind:
    """Return the kind that is started; raises CannotStart where none is."""
    name = (rung.engine if rung is not None else "") or settings.engine
    if name == "external":
        raise CannotStart("ENGINE=external: somebody else runs the engine; none is started here")
    if name == "triton" and settings.engine_api == "generate":
        return triton.GENERATE
    return KINDS[name]
