"""Owns the gateway's settings: one object, built once from the environment, then passed along."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from annotated_types import Interval
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gateway.sampling import MAX_STOP_STRINGS, RANGES, Sampling

EngineName = Literal["vllm", "sglang", "vllm-mindspore", "transformers", "triton", "external"]


class SettingsError(ValueError):
    """The environment cannot be used; one line per setting, with key, value and rule."""


def _in_range(name: str) -> Interval:
    limits = RANGES[name]
    if limits.is_low_open:
        return Interval(gt=limits.low, le=limits.high)
    return Interval(ge=limits.low, le=limits.high)


_StopString = Annotated[str, Field(min_length=1)]


class Settings(BaseSettings):
    """Every setting of the gateway; a field's environment variable is its name in capitals."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    # -- which engine
    engine: EngineName = Field(
        "vllm", description="which engine answers (docs/engines.md); `external`: one at ENGINE_URL"
    )
    engine_api: Literal["chat", "generate"] = Field(
        "chat",
        description="how it is asked: OpenAI chat completions, or, of a Triton server without "
        "them, the generate extension",
    )
    engine_health_path: str = Field(
        "",
        pattern="^(/.*)?$",
        description="health route of the engine; empty: the one that this kind of engine has",
    )
    chat_template: Path | None = Field(
        None,
        description="ENGINE_API=generate: the chat template, a Jinja file, a "
        "tokenizer_config.json or a model's folder; empty: MODEL_DIR's",
    )
    model_dir: Path | None = Field(
        None,
        description="the folder of a model that is there already: it is served, wins over "
        "MODEL_ID, and may hold the chat template",
    )
    ft_cb_batch_size: int = Field(
        0,
        ge=0,
        description="TecoInferenceEngine's own: the first wave after its start must be as wide; "
        "not above BATCH_CONCURRENCY",
    )

    # -- where
    gateway_host: str = Field("0.0.0.0", description="address that the gateway listens on")
    gateway_port: int = Field(8000, ge=1, le=65535, description="port that the evaluator asks")
    engine_host: str = Field(
        "127.0.0.1", min_length=1, description="address of this machine that the engine listens on"
    )
    engine_port: int = Field(
        8001, ge=1, le=65535, description="the engine's own port on this machine"
    )
    engine_url: str = Field(
        "",
        pattern=r"^(https?://[^\s/]+(/[^\s]*)?)?$",
        description="base URL of the engine; empty: ENGINE_HOST and ENGINE_PORT",
    )
    engine_api_key: SecretStr | None = Field(
        None, description="bearer token for an engine that asks for one"
    )
    served_model_name: str = Field(
        "evalgate", min_length=1, description="the model's name in the engine's API"
    )
    engine_state_file: Path = Field(
        Path("run/engine.json"), description="where the guardian tells how the engine is doing"
    )

    # -- the batch
    batch_mode: bool = Field(
        True, description='`GET /` says "batch": the evaluator sends all questions in one POST'
    )
    # More than the 358 prompts of a large evaluation: what the engine has no place for waits in it,
    # one step away from work.
    batch_concurrency: int = Field(
        512, ge=1, le=65536, description="completions under way at once, over all requests"
    )
    prompts_per_call: int = Field(
        0,
        ge=0,
        le=1024,
        description="prompts that share a call to an engine with the batch chat route; "
        "0: what is fastest in the warm-up, 1: every prompt has a call of its own",
    )
    # The evaluator gives up after 360 s; 15 s are left for the reply and a slow clock.
    predict_deadline_s: float = Field(
        345, gt=0, le=86400, description="seconds after which /predict answers with what it has"
    )
    max_batch_prompts: int = Field(
        20_000, ge=1, le=1_000_000, description="prompts in one request; more are refused with 413"
    )
    # Two of the largest batches: a bound on memory, far from what an evaluator sends.
    max_open_prompts: int = Field(
        40_000,
        ge=1,
        le=10_000_000,
        description="prompts accepted and not yet answered, over all requests; a request over it "
        "is refused with 429 and a Retry-After, unless it is the only one",
    )
    max_body_bytes: int = Field(
        64 * 1024 * 1024, ge=1024, description="bytes of a request body; more are refused with 413"
    )
    # Parsed, a body of nothing but short strings takes several times its bytes.
    max_open_body_bytes: int = Field(
        256 * 1024 * 1024,
        ge=1024,
        description="bytes of all request bodies that are not answered yet; a request over it is "
        "refused with 429, unless it is the only one",
    )
    # The largest body, 64 MiB, takes 54 s at 10 Mbit/s.
    body_timeout_s: float = Field(
        60, gt=0, le=86400, description="seconds that a request's body may take; then 408"
    )
    # A prompt that takes the engine down with it must not do so for ever.
    max_engine_attempts: int = Field(
        4,
        ge=1,
        le=100,
        description="times a prompt is sent when the engine is lost under it, or answers nonsense",
    )
    stream_answers: bool = Field(
        True,
        description="take answers as they are written, so that the deadline returns unfinished "
        "ones as far as they came; without, they come whole or not at all",
    )

    # -- sampling
    system_prompt: str = Field("", description="system message put before every prompt")
    system_prompt_file: Path | None = Field(
        None, description="file (UTF-8) whose text is the system message instead of SYSTEM_PROMPT"
    )
    max_new_tokens: Annotated[int, _in_range("max_new_tokens")] = Field(
        512, description="answer budget of a prompt, in tokens"
    )
    # Greedy: an evaluation is repeatable, and RougeL rewards the likeliest words.
    temperature: Annotated[float, _in_range("temperature")] = Field(0.0, description="0 is greedy")
    top_p: Annotated[float, _in_range("top_p")] = Field(
        1.0, description="nucleus sampling; 1 is off"
    )
    top_k: Annotated[int, _in_range("top_k")] = Field(
        -1, description="sample among the k likeliest; -1 is off"
    )
    repetition_penalty: Annotated[float, _in_range("repetition_penalty")] = Field(
        1.0, description="over 1 discourages repetition"
    )
    frequency_penalty: Annotated[float, _in_range("frequency_penalty")] = Field(
        0.0, description="over 0 discourages frequent tokens"
    )
    stop_strings: Annotated[tuple[_StopString, ...], NoDecode] = Field(
        (),
        max_length=MAX_STOP_STRINGS,
        description='strings that end an answer: a JSON list, or separated by "|"',
    )
    enable_thinking: bool = Field(
        False, description="let a reasoning model think before it answers; the thinking is removed"
    )
    policy_file: Path | None = Field(
        None, description="TOML file with budgets by question type and answer clean-up"
    )

    # -- readiness
    hold_port_until_warm: bool = Field(
        False, description="open the port only once the engine is warm, instead of answering 503"
    )
    warmup_data_path: Path | None = Field(
        None, description="questions to warm up with: JSON lines, a JSON list or plain lines"
    )
    warmup_num_samples: int = Field(
        64, ge=1, le=100_000, description="how many of them are read; a wave repeats them"
    )
    warmup_max_new_tokens: int = Field(
        16, ge=1, le=4096, description="answer budget of a warm-up prompt, in tokens"
    )
    warmup_budget_s: float = Field(
        30, gt=0, le=3600, description="seconds of warm-up after which one success is enough"
    )
    calibration_budget_s: float = Field(
        3, ge=0, le=600, description="seconds of warm-up for finding the best PROMPTS_PER_CALL"
    )
    health_interval_s: float = Field(
        0.5, gt=0, le=60, description="seconds between two looks at the engine's health"
    )
    # A busy engine answers its health route late; 10 s and three times is what was seen to hold.
    health_timeout_s: float = Field(
        10, gt=0, le=120, description="seconds that the engine's health route may take"
    )
    health_strikes: int = Field(
        3, ge=1, le=100, description="time-outs in a row after which the engine counts as lost"
    )
    # vLLM's own default is 5 s; the launcher starts it with this plus a margin.
    engine_keepalive_s: float = Field(
        30, gt=0, le=3600, description="seconds for which an idle engine connection is used again"
    )
    # supervisord's stopwaitsecs is above the bound.
    grace_period_s: float = Field(
        20, ge=0, le=120, description="seconds that batches in flight get at shutdown"
    )
    # As the launcher's: the strictest evaluator allows 180 s.
    health_budget_s: float = Field(
        170,
        ge=0,
        description="seconds from the first start to health that an evaluator allows: shown as "
        "they run out; when a second slow start would end later, the safest configuration is "
        "tried at once; 0: no limit",
    )

    # -- what is told
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severity of the log lines"
    )
    log_format: Literal["plain", "json"] = Field("plain", description="form of the log lines")
    log_prompts: bool = Field(False, description="put prompts and answers into the log")
    status_page: bool = Field(
        True, description="`GET /status`: a page that shows live what the service is doing"
    )
    otel_exporter_otlp_endpoint: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="URL of an OpenTelemetry collector (OTLP over HTTP) that traces go to; "
        "needs requirements/tracing.txt",
    )

    @field_validator("stop_strings", mode="before")
    @classmethod
    def _split_stop_strings(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            try:
                return json.loads(value)
            except ValueError as exc:
                raise ValueError(f'what starts with "[" must be a JSON list: {exc}') from exc
        return tuple(part for part in value.split("|") if part)

    @field_validator("engine_api_key", mode="before")
    @classmethod
    def _check_header(cls, value: Any) -> Any:
        if isinstance(value, str) and not value.isprintable():
            raise ValueError("must be one line without control characters: it goes into a header")
        return value

    @field_validator("engine_url")
    @classmethod
    def _check_address(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            is_address = parts.hostname is not None and parts.port != 0
        except ValueError:
            is_address = False  # its words would repeat a part of the URL, and maybe of a password
        if value and not is_address:
            raise ValueError("must have a host, and no port or one from 1 to 65535")
        return value

    @field_validator("system_prompt", "engine_api_key", mode="before")
    @classmethod
    def _check_utf8(cls, value: Any) -> Any:
        # The environment passes broken UTF-8 on as lone surrogates: no request could be encoded.
        # A string with a constraint of its own is checked by pydantic.
        if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("must be text in UTF-8")
        return value

    @model_validator(mode="after")
    def _check_engine(self) -> Settings:
        if self.engine == "external" and not self.engine_url:
            raise ValueError("ENGINE=external needs ENGINE_URL, the base URL of that engine")
        if self.engine_api_key is not None and "@" in urlsplit(self.engine_url).netloc:
            raise ValueError("ENGINE_API_KEY and a password in ENGINE_URL exclude one another")
        if self.engine_api == "generate" and self.engine not in ("triton", "external"):
            raise ValueError("ENGINE_API=generate is for ENGINE=triton and ENGINE=external only")
        if self.ft_cb_batch_size > self.batch_concurrency:
            raise ValueError(
                f"BATCH_CONCURRENCY={self.batch_concurrency}: must be at least FT_CB_BATCH_SIZE "
                f"= {self.ft_cb_batch_size}, the width of the engine's first wave"
            )
        return self

    @property
    def engine_base_url(self) -> str:
        """The engine's base URL, without a slash or /v1 at its end."""
        if self.engine_url:
            return self.engine_url.rstrip("/").removesuffix("/v1")
        # As the launcher's: who listens everywhere is asked here.
        host = "127.0.0.1" if self.engine_host in ("0.0.0.0", "::") else self.engine_host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.engine_port}"

    @property
    def sampling(self) -> Sampling:
        """What a request that names nothing itself is sampled with."""
        return Sampling(
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            repetition_penalty=self.repetition_penalty,
            frequency_penalty=self.frequency_penalty,
            stop=self.stop_strings,
        )

    def system_message(self) -> str:
        """Return the system message, from the file when one is set; raises SettingsError."""
        if self.system_prompt_file is None:
            return self.system_prompt
        try:
            return self.system_prompt_file.read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise SettingsError(
                f"SYSTEM_PROMPT_FILE={str(self.system_prompt_file)!r}: cannot be read: {exc}"
            ) from exc


def load_settings() -> Settings:
    """Build the settings from the process's environment.

    Raises SettingsError with one line per bad setting: key, value, rule.
    """
    try:
        settings = Settings()
    except ValidationError as exc:
        raise SettingsError("\n".join(_rule_line(error) for error in exc.errors())) from exc
    settings.system_message()  # an unreadable file is told now, not at the first request
    return settings


def _rule_line(error: Any) -> str:
    rule = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:  # about several settings, which it names
        return rule
    name, *place = error["loc"]
    key = name.upper() + "".join(f"[{index}]" for index in place)
    is_secret = "Secret" in str(Settings.model_fields[name].annotation)
    is_secret = is_secret or (key.endswith("_URL") and "@" in str(error["input"]))
    return f"{key}={'***' if is_secret else repr(error['input'])}: {rule}"
