"""What pip is told, and uv is to be told in its place."""

from __future__ import annotations

import pytest

from launcher.uv_settings import Untranslatable, read, translate

SYSTEM = {"UV_SYSTEM_CERTS": "1"}


def test_the_environment_wins_over_the_command_and_that_over_the_rest() -> None:
    listing = """\
:env:.find-links='/from/the/environment'
:env:.no-index='1'
download.index-url='https://downloads.example/simple'
global.extra-index-url='https://one.example/simple\\nhttps://two.example/simple'
global.find-links='/from/the/file'
global.timeout='10'
install.find-links='/for/installs'
install.timeout='20'
not a setting
"""
    assert read(listing) == {
        "extra-index-url": "https://one.example/simple\nhttps://two.example/simple",
        "find-links": "/from/the/environment",
        "no-index": "1",
        "timeout": "20",
    }


@pytest.mark.parametrize(
    ("name", "value", "environ"),
    [
        ("index-url", "https://a.example/simple", {"UV_INDEX_URL": "https://a.example/simple"}),
        (
            "extra-index-url",
            "file:///a/simple \n https://me:secret@b.example/simple",
            {"UV_EXTRA_INDEX_URL": "file:///a/simple https://me:secret@b.example/simple"},
        ),
        ("find-links", "/a\n/b", {"UV_FIND_LINKS": "/a,/b"}),
        ("trusted-host", "a.example b.example:81", {"UV_INSECURE_HOST": "a.example b.example:81"}),
        ("constraint", "/a.txt /b.txt", {"UV_CONSTRAINT": "/a.txt /b.txt"}),
        ("client-cert", "/me.pem", {"SSL_CLIENT_CERT": "/me.pem"}),
        ("timeout", "15.5", {"UV_HTTP_TIMEOUT": "16"}),
        ("default-timeout", "0.1", {"UV_HTTP_TIMEOUT": "1"}),
        ("disable-pip-version-check", "1", {}),
        ("find-links", "", {}),
    ],
)
def test_a_setting_is_told_as_uv_names_it(name: str, value: str, environ: dict[str, str]) -> None:
    told = translate({name: value})
    assert told.environ == {**SYSTEM, **environ}
    assert told.arguments == ()


def test_certificates_of_pips_own_take_the_place_of_the_systems() -> None:
    assert translate({"cert": "/ca.pem"}).environ == {"SSL_CERT_FILE": "/ca.pem"}


@pytest.mark.parametrize("value", ["proxy.example:3128", "http://proxy.example:3128"])
def test_a_proxy_is_for_every_scheme(value: str) -> None:
    address = "http://proxy.example:3128"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    assert translate({"proxy": value}).environ == {**SYSTEM, **dict.fromkeys(names, address)}


def test_switches_are_arguments_when_they_are_on() -> None:
    assert translate({"no-index": "1", "pre": "true"}).arguments == (
        "--no-index",
        "--prerelease",
        "allow",
    )
    assert translate({"no-index": "false", "pre": "0"}).arguments == ()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("only-binary", ":all:", "pip is told only-binary here, which uv does not know"),
        ("no-cache-dir", "true", "pip is told no-cache-dir here"),
        ("timeout", "long", "pip is told a timeout of long here"),
    ],
)
def test_what_uv_would_not_heed_is_named(name: str, value: str, message: str) -> None:
    with pytest.raises(Untranslatable, match=message):
        translate({name: value})
