from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.sampling import RANGES, Sampling
from gateway.settings import Settings, SettingsError, load_settings


def load(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def refusal(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(monkeypatch, **environment)
    return str(caught.value)


def test_nothing_has_to_be_set() -> None:
    settings = load_settings()
    assert settings.gateway_port == 8000
    assert settings.predict_deadline_s < 360
    assert settings.batch_mode
    assert settings.sampling == Sampling(512, 0.0, 1.0, -1, 1.0, 0.0, ())
    assert settings.system_message() == ""


def test_a_setting_is_read_from_its_name_in_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(
        monkeypatch,
        GATEWAY_PORT="9000",
        BATCH_MODE="0",
        PREDICT_DEADLINE_S="12.5",
        POLICY_FILE="policies/mine.toml",
        LOG_FORMAT="json",
        SYSTEM_PROMPT="简洁地回答。",
    )
    assert settings.gateway_port == 9000
    assert settings.batch_mode is False
    assert settings.predict_deadline_s == 12.5
    assert settings.policy_file == Path("policies/mine.toml")
    assert settings.log_format == "json"
    assert settings.system_message() == "简洁地回答。"


def test_unknown_names_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch, GATEWAY_COLOUR="red") == Settings()


def test_an_empty_string_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    default = load_settings()
    assert load(monkeypatch, **dict.fromkeys(map(str.upper, Settings.model_fields), "")) == default


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        load_settings().gateway_port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("GATEWAY_PORT", "0", "Input should be greater than or equal to 1"),
        ("GATEWAY_PORT", "65536", "Input should be less than or equal to 65535"),
        ("GATEWAY_PORT", "http", "Input should be a valid integer"),
        ("ENGINE_PORT", "8001.5", "Input should be a valid integer"),
        ("ENGINE_URL", "localhost:8001", "String should match pattern"),
        ("ENGINE_URL", "ftp://engine", "String should match pattern"),
        ("BATCH_MODE", "maybe", "Input should be a valid boolean"),
        ("BATCH_CONCURRENCY", "0", "Input should be greater than or equal to 1"),
        ("PREDICT_DEADLINE_S", "0", "Input should be greater than 0"),
        ("PREDICT_DEADLINE_S", "nan", "Input should be less than or equal to 86400"),
        ("PREDICT_DEADLINE_S", "inf", "Input should be less than or equal to 86400"),
        ("MAX_BODY_BYTES", "1", "Input should be greater than or equal to 1024"),
        ("MAX_NEW_TOKENS", "1e9", "Input should be a valid integer"),
        ("TEMPERATURE", "2.1", "Input should be less than or equal to 2"),
        ("TEMPERATURE", "nan", "Input should be"),
        ("TEMPERATURE", "warm", "Input should be a valid number"),
        ("TOP_P", "0", "Input should be greater than 0"),
        ("TOP_K", "-2", "Input should be greater than or equal to -1"),
        ("REPETITION_PENALTY", "0", "Input should be greater than 0"),
        ("FREQUENCY_PENALTY", "-2.5", "Input should be greater than or equal to -2"),
        ("LOG_LEVEL", "loud", "Input should be 'debug', 'info', 'warning' or 'error'"),
        ("LOG_FORMAT", "xml", "Input should be 'plain' or 'json'"),
        ("STOP_STRINGS", '["a"', 'what starts with "[" must be a JSON list: Expecting'),
        ("STOP_STRINGS", "[/INST]", 'what starts with "[" must be a JSON list: Expecting'),
        ("SYSTEM_PROMPT", "\udcc4\udce3", "must be text in UTF-8"),
        ("SERVED_MODEL_NAME", "\udcff", "Input should be a valid string, unable to parse raw data"),
    ],
)
def test_a_bad_value_is_told_with_key_value_and_rule(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, rule: str
) -> None:
    told = refusal(monkeypatch, **{name: value})
    assert told.startswith(f"{name}={value!r}: {rule}")
    assert "\n" not in told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ('["a", ""]', "STOP_STRINGS[1]='': String should have at least 1 character"),
        ('["a", 1]', "STOP_STRINGS[1]=1: Input should be a valid string"),
    ],
)
def test_a_bad_stop_string_is_told_with_its_place(
    monkeypatch: pytest.MonkeyPatch, value: str, told: str
) -> None:
    assert refusal(monkeypatch, STOP_STRINGS=value) == told


@pytest.mark.parametrize("value", ["\udcff", '["\\ud800"]'])
def test_stop_strings_that_no_request_can_carry_are_refused(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    told = refusal(monkeypatch, STOP_STRINGS=value)
    assert told.endswith(
        "Input should be a valid string, unable to parse raw data as a unicode string"
    )


def test_too_many_stop_strings_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    told = refusal(monkeypatch, STOP_STRINGS="|".join("abcdefghijklmnopq"))
    assert told.startswith("STOP_STRINGS=")
    assert "at most 16 items" in told


def test_several_bad_values_have_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    told = refusal(monkeypatch, TOP_P="2", GATEWAY_PORT="x", LOG_LEVEL="loud")
    assert sorted(line.split("=")[0] for line in told.splitlines()) == [
        "GATEWAY_PORT",
        "LOG_LEVEL",
        "TOP_P",
    ]


def test_a_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, ENGINE_API_KEY="sk-secret")
    assert settings.engine_api_key is not None
    assert settings.engine_api_key.get_secret_value() == "sk-secret"
    assert "sk-secret" not in f"{settings!r} {settings} {settings.model_dump_json()}"


def test_a_bad_secret_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    told = refusal(monkeypatch, ENGINE_API_KEY="sk-secret\udcff")
    assert told == "ENGINE_API_KEY=***: must be text in UTF-8"
    told = refusal(monkeypatch, ENGINE_API_KEY="sk-from-a-file\n")
    assert told.startswith("ENGINE_API_KEY=***: must be one line without control characters")


@pytest.mark.parametrize(
    ("value", "stop"),
    [
        ("</s>", ("</s>",)),
        ("User:|Assistant:", ("User:", "Assistant:")),
        ("|a||b|", ("a", "b")),
        ("|", ()),
        ("[]", ()),
        ('["a|b", "\\n\\n"]', ("a|b", "\n\n")),
        (' ["。"]', ("。",)),
    ],
)
def test_stop_strings_are_a_json_list_or_separated_by_a_bar(
    monkeypatch: pytest.MonkeyPatch, value: str, stop: tuple[str, ...]
) -> None:
    assert load(monkeypatch, STOP_STRINGS=value).sampling.stop == stop


def test_stop_strings_can_be_given_as_a_tuple() -> None:
    assert Settings(stop_strings=("a|b",)).stop_strings == ("a|b",)


@pytest.mark.parametrize("name", RANGES)
def test_a_sampling_setting_has_the_range_of_the_request_field(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    limits = RANGES[name]
    beyond: list[Any] = [limits.low - 1, limits.high + 1, *([limits.low] * limits.is_low_open)]
    for value in beyond:
        assert refusal(monkeypatch, **{name.upper(): str(value)}).startswith(name.upper())
    settings = load(monkeypatch, **{name.upper(): str(limits.high)})
    assert getattr(settings.sampling, name) == limits.high


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "http://127.0.0.1:8001"),
        ({"ENGINE_PORT": "9001"}, "http://127.0.0.1:9001"),
        ({"ENGINE_URL": "http://router:80/", "ENGINE_PORT": "9001"}, "http://router:80"),
        ({"ENGINE_URL": "https://host/v1"}, "https://host"),
        ({"ENGINE_URL": "https://host/openai/v1/"}, "https://host/openai"),
    ],
)
def test_the_engine_is_found_by_url_or_by_port(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str
) -> None:
    assert load(monkeypatch, **environment).engine_base_url == url


def test_the_system_prompt_file_wins_and_is_stripped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "system.txt"
    path.write_text("\n你是助手。\nBe brief.\n\n", encoding="utf-8-sig")
    settings = load(monkeypatch, SYSTEM_PROMPT="other", SYSTEM_PROMPT_FILE=str(path))
    assert settings.system_message() == "你是助手。\nBe brief."


def test_an_unreadable_system_prompt_file_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gbk = tmp_path / "gbk.txt"
    gbk.write_bytes("你是助手。".encode("gbk"))
    for path in (tmp_path / "none.txt", tmp_path, gbk):
        told = refusal(monkeypatch, SYSTEM_PROMPT_FILE=str(path))
        assert told.startswith(f"SYSTEM_PROMPT_FILE={str(path)!r}: cannot be read: ")


def test_every_setting_says_what_it_is_for() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_a_key_and_a_password_for_the_same_header_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ENGINE_API_KEY", "one")
    monkeypatch.setenv("ENGINE_URL", "http://user:other@engine:8001")
    with pytest.raises(SettingsError, match="exclude one another"):
        load_settings()


def test_a_password_in_a_url_that_is_refused_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_URL", "http://user:hunter2 x@engine:8001")
    with pytest.raises(SettingsError) as refusal:
        load_settings()
    assert str(refusal.value).startswith("ENGINE_URL=***: ")
    assert "hunter2" not in str(refusal.value)
