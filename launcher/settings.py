"""Owns the launcher's settings: their environment names, defaults, bounds and error messages.

Built once, in `__main__`, and passed on. It reads no environment but the one it is handed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from launcher.errors import CannotStart
from launcher.model_settings import ModelSettings
from launcher.setting_errors import connectable, describe, splittable

Port = Annotated[int, Field(ge=1, le=65535)]
EngineName = Literal["vllm", "sglang", "vllm-mindspore", "transformers", "triton", "external"]
Dtype = Literal["auto", "bfloat16", "float16", "float32", "half", "float"]


class LauncherSettings(ModelSettings):
    """Everything that can be set about the engine and its model."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")

    # The engine and where it listens.
    engine: EngineName = Field(
        "vllm",
        description="Which engine serves the model (docs/engines.md); `external`: one that "
        "somebody else runs at ENGINE_URL.",
    )
    engine_api: Literal["chat", "generate"] = Field(
        "chat",
        description="How it is asked: OpenAI chat completions, or, of a Triton server without "
        "them, the generate extension.",
    )
    # `engine_url` is where the engine listens, whoever runs it.
    remote_engine_url: Annotated[str, AfterValidator(connectable)] = Field(
        "",
        validation_alias=AliasChoices("engine_url"),
        pattern=r"^(https?://[^\s/]+(/[^\s]*)?)?$",
        description="Base URL of the engine that ENGINE=external means.",
    )
    engine_health_path: str = Field(
        "",
        pattern="^(/.*)?$",
        description="Health route of the engine. Unset: the one that this kind of engine has.",
    )
    engine_python: Path | None = Field(
        None,
        description="The interpreter that has the engine. Unset: `.engine/bin/python` of this "
        "repository, else `/opt/conda/bin/python` or a `python3` on PATH that has the engine.",
    )
    # Loopback: the engine has no authentication of its own, the gateway is its only client.
    engine_host: str = Field("127.0.0.1", min_length=1, description="Address the engine binds to.")
    engine_port: Port = Field(8001, description="Port the engine listens on.")
    served_model_name: str = Field(
        "evalgate", min_length=1, description="Model name in the engine's API."
    )
    engine_state_file: Path = Field(
        Path("run/engine.json"), description="Where the launcher writes the engine's state."
    )
    # Long enough to span an evaluator's pauses between questions.
    engine_keepalive_s: float = Field(
        30,
        gt=0,
        le=3600,
        description="How long the gateway reuses an idle connection; the engine holds it 10 s on.",
    )
    # vLLM ends within 2 s of SIGTERM when idle. supervisord's stopwaitsecs is above the bound.
    engine_stop_timeout_s: float = Field(
        10, gt=0, le=60, description="How long the engine may take to end before it is killed."
    )
    # A hang, not slowness: killing a start that would have come right a minute later loses more.
    engine_start_timeout_s: float = Field(
        600, gt=0, le=86400, description="How long a start may take to health; then it has failed."
    )
    engine_extra_args: Annotated[str, AfterValidator(splittable)] = Field(
        "", description="More engine arguments, as in a shell; last, so they win; not checked."
    )
    engine_api_key: SecretStr | None = Field(
        None, description="API key that the engine then demands of its clients."
    )
    gateway_port: Port = Field(8000, description="The gateway's port (for `launcher chat`).")
    triton_model_repository: Path | None = Field(
        None, description="ENGINE=triton: the folder of its models."
    )
    triton_program: Path | None = Field(
        None,
        description="ENGINE=triton: `tritonserver`, or the OpenAI frontend's main.py. Unset: on "
        "PATH, or where NVIDIA's images have them.",
    )

    # What is done about an engine that will not start, or hangs.
    engine_ladder: bool = Field(
        True,
        description="After a failed start, try a configuration that asks less of the machine: "
        "eager, then less memory and context, then the transformers library within vLLM, then "
        "`transformers serve` where it is installed.",
    )
    # The strictest evaluator allows 180 s until health; 10 s are for the last start's warm-up.
    health_budget_s: float = Field(
        170,
        ge=0,
        description="When a second slow start would end later than this after the first began, "
        "the safest configuration is tried at once. 0: never.",
    )
    watchdog: bool = Field(True, description="Kill an engine that hangs; it is started again.")
    # A look costs the engine some milliseconds.
    watchdog_interval_s: float = Field(
        5, gt=0, le=600, description="How often the watchdog looks at the engine."
    )
    # Found, killed, started and warm again in 45 + 5 + 100 s: time for the batch in 360 s is left.
    watchdog_stall_s: float = Field(
        45,
        gt=0,
        le=86400,
        description="How long an engine with work may make no progress; twice as long "
        "at first, while kernels compile.",
    )
    # An API server that takes in a flood of requests may not answer for tens of seconds.
    watchdog_silent_s: float = Field(
        60, gt=0, le=86400, description="How long the engine's port may not answer at all."
    )
    # Costs milliseconds, and only when no step is made.
    watchdog_canary_s: float = Field(
        15,
        ge=0,
        le=86400,
        description="How often an engine that makes no step is asked for one token; 0: never.",
    )

    evalgate_cache: Path | None = Field(
        None,
        description="Folder of what is costly to make: the environments that .venv and .engine "
        "link to, the pocket model, what is known about the engine. "
        "Unset: `evalgate` in XDG_CACHE_HOME.",
    )
    xdg_cache_home: Path = Field(Path("~/.cache"), description="Where a user's caches live.")

    # How the engine runs the model.
    dtype: Dtype = Field(
        "auto",
        description="Number format of the weights; `auto` on a CPU: bfloat16, or float32 where it "
        "has no instructions for that.",
    )
    max_model_len: int | None = Field(
        None, ge=1, description="Context length in tokens. Unset: what the model declares."
    )
    # The rest is for what the driver and other libraries allocate beside vLLM.
    gpu_memory_utilization: float = Field(
        0.9, gt=0, le=1, description="Share of the accelerator's memory that the engine takes."
    )
    tensor_parallel_size: int = Field(
        1, ge=1, description="Accelerators that the model is spread over."
    )
    # A model's own code runs with the engine's rights: only when asked for.
    trust_remote_code: bool = Field(False, description="Run Python code that comes with the model.")
    # All prompts of an evaluation share the system prompt.
    enable_prefix_caching: bool = Field(
        True, description="Keep the work done for common beginnings of prompts."
    )
    vllm_enforce_eager: bool | None = Field(
        None,
        validation_alias=AliasChoices("vllm_enforce_eager", "enforce_eager"),
        description="Do not compile: a quicker start, slower tokens. Unset: true on a CPU only. "
        "Also as ENFORCE_EAGER.",
    )
    reasoning_parser: str | None = Field(
        None, description="Parser by which the engine parts thinking from the answer."
    )
    vllm_quantization: str | None = Field(None, description="Quantization method of the weights.")
    vllm_kv_cache_dtype: str | None = Field(None, description="Number format of the KV cache.")
    vllm_max_num_seqs: int | None = Field(
        None,
        ge=1,
        description="Sequences per engine step. Unset: `.venv/bin/python -m launcher.defaults`.",
    )
    vllm_max_num_batched_tokens: int | None = Field(
        None, ge=1, description="Tokens per engine step. Unset: the engine's choice."
    )
    # Free of cost at 16, and the first token still comes at once.
    stream_interval: int = Field(
        16, ge=1, description="Tokens that the engine sends at a time, if it knows how to."
    )
    vllm_load_format: str | None = Field(None, description="How the weights are read.")
    # Enough for the pocket model; a machine without an accelerator is often short of memory.
    cpu_kv_cache_gib: int = Field(
        1, ge=1, description="Size of the KV cache on a CPU; VLLM_CPU_KVCACHE_SPACE wins."
    )

    @property
    def engine_url(self) -> str:
        """The engine's base URL for clients on this machine, without a slash or /v1 at its end."""
        if self.engine == "external":
            return self.remote_engine_url.rstrip("/").removesuffix("/v1")
        host = "127.0.0.1" if self.engine_host in ("0.0.0.0", "::") else self.engine_host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.engine_port}"

    @property
    def cache_dir(self) -> Path:
        """The folder of everything that can be made again."""
        return (self.evalgate_cache or self.xdg_cache_home / "evalgate").expanduser()

    @model_validator(mode="after")
    def _is_engine_complete(self) -> LauncherSettings:
        if self.engine == "external" and not self.remote_engine_url:
            raise ValueError("ENGINE=external needs ENGINE_URL, the base URL of that engine")
        if self.engine == "triton" and self.triton_model_repository is None:
            raise ValueError(
                "ENGINE=triton needs TRITON_MODEL_REPOSITORY, the folder of its models"
            )
        if self.engine_api == "generate" and self.engine not in ("triton", "external"):
            raise ValueError("ENGINE_API=generate is for ENGINE=triton and ENGINE=external only")
        return self

    @model_validator(mode="after")
    def _is_watchdog_patient(self) -> LauncherSettings:
        least_s = 3 * self.watchdog_interval_s
        if self.watchdog and min(self.watchdog_stall_s, self.watchdog_silent_s) < least_s:
            raise ValueError(
                "WATCHDOG_STALL_S and WATCHDOG_SILENT_S must be at least 3 x WATCHDOG_INTERVAL_S "
                f"= {least_s:g}"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what the constructor is given; only `load_settings` reads an environment."""
        return (init_settings,)


def load_settings(environ: Mapping[str, str]) -> LauncherSettings:
    """Read the settings; raises CannotStart with one line per bad key, never a secret's value."""
    source = EnvSettingsSource(LauncherSettings)
    source.env_vars = {key.lower(): value for key, value in environ.items() if value != ""}
    values = source()
    try:
        return LauncherSettings(**values)
    except ValidationError as exc:
        lines = [describe(error, secret_names()) for error in exc.errors(include_url=False)]
        raise CannotStart("\n".join(lines)) from exc


def secret_names() -> frozenset[str]:
    """The fields whose values must not be shown or handed on, in lower case."""
    fields = LauncherSettings.model_fields
    return frozenset(name for name, field in fields.items() if "SecretStr" in str(field.annotation))
