"""Owns the settings about models: which, from where, what guesses for them, what adapts them.

A part of LauncherSettings, kept apart because it says nothing of how an engine is run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings

SpecMethod = Literal[
    "ngram", "draft_model", "eagle", "eagle3", "medusa", "mlp_speculator", "mtp", "suffix"
]
# They guess without a model of their own.
_SELF_SUFFICIENT = ("ngram", "mtp", "suffix")


def _also(name: str, *others: str) -> AliasChoices:
    """Accept the names that other services of this kind have in their Dockerfiles."""
    return AliasChoices(name, *others)


def _method(value: object) -> object:
    return "draft_model" if value == "draft" else value


class ModelSettings(BaseSettings):
    """Everything that can be set about the model, its draft and its adapter."""

    # The model and where it comes from.
    model_id: str | None = Field(None, description="ModelScope id of the model, `owner/name`.")
    model_revision: str | None = Field(None, description="Its branch, tag or commit.")
    model_dir: Path | None = Field(
        None, description="A model folder that is there already; wins over MODEL_ID."
    )
    model_root: Path = Field(Path("model"), description="Folder that fetched models go into.")
    modelscope_api_token: SecretStr | None = Field(
        None, description="Token for private models; never handed to the engine."
    )
    modelscope_endpoint: str | None = Field(None, description="Another ModelScope server's URL.")
    # Off: a limit of its own would fail a build that nothing else limits.
    model_download_budget_s: float = Field(
        0,
        ge=0,
        le=86400,
        description="Seconds that each download may take; one that will not make it ends early, "
        "with the arithmetic. 0: as long as it takes.",
    )

    # A LoRA adapter: MODEL_ID or MODEL_DIR is then the model that it was trained on.
    lora_id: str | None = Field(
        None, description="ModelScope id of a LoRA adapter that answers instead of the bare model."
    )
    lora_revision: str | None = Field(None, description="Its branch, tag or commit.")
    lora_dir: Path | None = Field(
        None, description="An adapter's folder that is there already; wins over LORA_ID."
    )

    # Speculative decoding.
    enable_speculative_decoding: bool = Field(
        False, description="Guess several tokens and check them in one step."
    )
    # Needs no second model and works on every vLLM since 0.6.
    spec_method: Annotated[SpecMethod, BeforeValidator(_method)] = Field(
        "ngram", description="Where the guesses come from; `draft` is `draft_model`."
    )
    spec_model_id: str | None = Field(
        None,
        validation_alias=_also("spec_model_id", "spec_draft_model_id"),
        description="ModelScope id of the model that guesses; not for ngram, mtp and suffix.",
    )
    spec_model_revision: str | None = Field(
        None,
        validation_alias=_also("spec_model_revision", "spec_draft_model_revision"),
        description="Its branch, tag or commit.",
    )
    spec_model_dir: Path | None = Field(
        None, description="Its folder, when it is there already; wins over SPEC_MODEL_ID."
    )
    # Answers without guesses are the same answers, only later.
    spec_model_optional: bool = Field(
        True,
        description="Go on without speculation when that model cannot be fetched, or is not there.",
    )
    spec_num_tokens: int = Field(
        4,
        ge=1,
        le=64,
        validation_alias=_also("spec_num_tokens", "spec_num_speculative_tokens"),
        description="Tokens guessed per step.",
    )
    spec_prompt_lookup_max: int = Field(
        4,
        ge=1,
        validation_alias=_also("spec_prompt_lookup_max", "spec_ngram_lookup_max"),
        description="ngram: longest match looked for.",
    )
    spec_prompt_lookup_min: int = Field(
        2,
        ge=1,
        validation_alias=_also("spec_prompt_lookup_min", "spec_ngram_lookup_min"),
        description="ngram: shortest match looked for.",
    )

    @property
    def has_draft(self) -> bool:
        """Whether a second model is asked for that guesses."""
        return self.enable_speculative_decoding and self.spec_method not in _SELF_SUFFICIENT

    @model_validator(mode="after")
    def _is_speculation_complete(self) -> ModelSettings:
        if not self.enable_speculative_decoding:
            return self
        if self.has_draft and self.spec_model_dir is None and self.spec_model_id is None:
            raise ValueError(
                f"SPEC_METHOD={self.spec_method} needs SPEC_MODEL_ID or SPEC_MODEL_DIR"
            )
        if self.spec_prompt_lookup_min > self.spec_prompt_lookup_max:
            raise ValueError("SPEC_PROMPT_LOOKUP_MIN must not exceed SPEC_PROMPT_LOOKUP_MAX")
        return self
