"""The launcher's settings: names, defaults, bounds, messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.errors import CannotStart
from launcher.settings import LauncherSettings, load_settings, secret_names


def message(environ: dict[str, str]) -> str:
    with pytest.raises(CannotStart) as caught:
        load_settings(environ)
    return str(caught.value)


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = load_settings({})
    assert settings == LauncherSettings()
    assert (settings.engine_url, settings.served_model_name) == (
        "http://127.0.0.1:8001",
        "evalgate",
    )


def test_the_names_are_the_upper_case_field_names() -> None:
    settings = load_settings({"MAX_MODEL_LEN": "2048", "VLLM_MAX_NUM_SEQS": "8", "OTHER": "x"})
    assert (settings.max_model_len, settings.vllm_max_num_seqs) == (2048, 8)


def test_an_empty_value_is_none_at_all() -> None:
    assert load_settings({"MODEL_ID": "", "MAX_MODEL_LEN": ""}) == LauncherSettings()


def test_the_constructor_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_PORT", "9")
    assert LauncherSettings().engine_port == 8001


@pytest.mark.parametrize("name", ["VLLM_ENFORCE_EAGER", "ENFORCE_EAGER"])
def test_eager_mode_has_two_names(name: str) -> None:
    assert load_settings({name: "true"}).vllm_enforce_eager is True


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"MAX_MODEL_LEN": "abc"}, "MAX_MODEL_LEN='abc': must be an integer"),
        ({"ENGINE_PORT": "8.5"}, "ENGINE_PORT='8.5': must be an integer"),
        ({"ENGINE_PORT": "0"}, "ENGINE_PORT='0': must be greater than or equal to 1"),
        ({"ENGINE_KEEPALIVE_S": "x"}, "ENGINE_KEEPALIVE_S='x': must be a number"),
        (
            {"GPU_MEMORY_UTILIZATION": "1.5"},
            "GPU_MEMORY_UTILIZATION='1.5': must be less than or equal to 1",
        ),
        ({"TRUST_REMOTE_CODE": "perhaps"}, "TRUST_REMOTE_CODE='perhaps': must be true or false"),
        (
            {"ENGINE": "llama"},
            "ENGINE='llama': must be 'vllm', 'sglang', 'vllm-mindspore', 'transformers', 'triton' "
            "or 'external'",
        ),
        (
            {"ENGINE": "external"},
            "ENGINE=external needs ENGINE_URL, the base URL of that engine",
        ),
        (
            {"ENGINE": "triton"},
            "ENGINE=triton needs TRITON_MODEL_REPOSITORY, the folder of its models",
        ),
        (
            {"ENGINE_API": "generate"},
            "ENGINE_API=generate is for ENGINE=triton and ENGINE=external only",
        ),
        (
            {"ENGINE_EXTRA_ARGS": "--a 'b"},
            'ENGINE_EXTRA_ARGS="--a \'b": '
            "must be arguments as a shell would read them: No closing quotation",
        ),
        (
            {"ENABLE_SPECULATIVE_DECODING": "1", "SPEC_METHOD": "eagle"},
            "SPEC_METHOD=eagle needs SPEC_MODEL_ID or SPEC_MODEL_DIR",
        ),
        (
            {"ENABLE_SPECULATIVE_DECODING": "1", "SPEC_PROMPT_LOOKUP_MIN": "9"},
            "SPEC_PROMPT_LOOKUP_MIN must not exceed SPEC_PROMPT_LOOKUP_MAX",
        ),
    ],
)
def test_a_bad_value_is_told_with_key_value_and_rule(
    environ: dict[str, str], expected: str
) -> None:
    assert message(environ) == expected


@pytest.mark.parametrize(
    "url", ["http://h:99999", "http://h:0", "http://h:x/v1", "http://[::1", "https://:8001"]
)
def test_an_address_that_nobody_can_ask_is_told_before_anybody_asks(url: str) -> None:
    """A port out of range ended every start with a traceback, and supervisord tried for ever."""
    expected = f"ENGINE_URL='{url}': must have a host, and no port or one from 1 to 65535"
    assert message({"ENGINE": "external", "ENGINE_URL": url}) == expected


@pytest.mark.parametrize("url", ["http://h", "https://h:/v1", "http://[::1]:65535/v1?a=b"])
def test_an_address_that_can_be_asked_is_taken(url: str) -> None:
    mine = load_settings({"ENGINE": "external", "ENGINE_URL": url})
    assert mine.remote_engine_url == url


def test_a_password_in_an_address_is_not_repeated() -> None:
    told = message({"ENGINE": "external", "ENGINE_URL": "http://me:pass@h:99999"})
    assert told.startswith("ENGINE_URL=(hidden): must have a host")


@pytest.mark.parametrize("name", ["WATCHDOG_STALL_S", "WATCHDOG_SILENT_S"])
def test_a_watchdog_looks_several_times_before_it_judges(name: str) -> None:
    assert message({name: "14"}) == (
        "WATCHDOG_STALL_S and WATCHDOG_SILENT_S must be at least 3 x WATCHDOG_INTERVAL_S = 15"
    )
    assert load_settings({name: "14", "WATCHDOG": "0"}).watchdog is False
    assert load_settings({name: "1", "WATCHDOG_INTERVAL_S": "0.3"}).watchdog_interval_s == 0.3


def test_the_defaults_leave_time_for_the_batch_in_an_evaluation() -> None:
    settings = load_settings({})
    longest_s = max(settings.watchdog_stall_s, settings.watchdog_silent_s)
    assert longest_s + settings.watchdog_interval_s <= 65
    assert settings.health_budget_s < 180


def test_every_bad_key_gets_a_line() -> None:
    lines = message({"DTYPE": "int4", "SPEC_NUM_TOKENS": "0"}).splitlines()
    assert sorted(line.partition("=")[0] for line in lines) == ["DTYPE", "SPEC_NUM_TOKENS"]


def test_no_secret_is_in_a_message_or_a_representation() -> None:
    environ = {"ENGINE_API_KEY": "key-1", "MODELSCOPE_API_TOKEN": "token-2", "ENGINE_PORT": "x"}
    assert not {"key-1", "token-2"} & set(message(environ).split("'"))
    del environ["ENGINE_PORT"]
    assert "key-1" not in repr(load_settings(environ))
    assert secret_names() == {"engine_api_key", "modelscope_api_token"}


def test_every_setting_is_described() -> None:
    undescribed = [n for n, f in LauncherSettings.model_fields.items() if not f.description]
    assert undescribed == []


def test_speculation_without_it_being_on_is_not_checked() -> None:
    assert load_settings({"SPEC_METHOD": "eagle3"}).spec_method == "eagle3"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8001"),
        ("::", "http://127.0.0.1:8001"),
        ("::1", "http://[::1]:8001"),
        ("localhost", "http://localhost:8001"),
    ],
)
def test_the_engine_url_can_be_called(host: str, url: str) -> None:
    assert load_settings({"ENGINE_HOST": host}).engine_url == url


def test_the_cache_follows_the_convention() -> None:
    assert load_settings({"XDG_CACHE_HOME": "/c"}).cache_dir == Path("/c/evalgate")
    assert load_settings({"XDG_CACHE_HOME": "/c", "EVALGATE_CACHE": "/d"}).cache_dir == Path("/d")
    assert load_settings({}).cache_dir == Path.home() / ".cache" / "evalgate"


def test_the_names_that_others_have_in_their_dockerfiles_are_taken() -> None:
    """As a public submission of the course sets them."""
    settings = load_settings(
        {
            "ENABLE_SPECULATIVE_DECODING": "1",
            "SPEC_METHOD": "draft",
            "SPEC_NUM_SPECULATIVE_TOKENS": "6",
            "SPEC_NGRAM_LOOKUP_MAX": "8",
            "SPEC_NGRAM_LOOKUP_MIN": "1",
            "SPEC_DRAFT_MODEL_ID": "a/b",
            "SPEC_DRAFT_MODEL_REVISION": "v2",
        }
    )
    assert (settings.spec_method, settings.has_draft) == ("draft_model", True)
    assert (settings.spec_model_id, settings.spec_model_revision) == ("a/b", "v2")
    assert settings.spec_num_tokens == 6
    assert (settings.spec_prompt_lookup_max, settings.spec_prompt_lookup_min) == (8, 1)
