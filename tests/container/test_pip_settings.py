"""What pip is told here, read and written; these need no container."""

from __future__ import annotations

from pathlib import Path

from tests.container.pip_settings import places, read, write

LISTING = """\
WARNING: something else that pip says
:env:.find-links='{folder}'
:env:.default-timeout='180'
global.cert='{folder}/ca.pem'
global.extra-index-url='file://{folder}/index/simple file:///no/such/folder/simple'
global.find-links='/elsewhere'
"""


def test_the_environment_wins_over_files() -> None:
    settings = read(LISTING)
    assert settings["find-links"] == "{folder}"
    assert settings["default-timeout"] == "180"


def test_several_values_are_written_on_one_line() -> None:
    assert write({"find-links": "a\nb"}) == "[global]\nfind-links = a b\n"


def test_what_the_settings_name_and_is_here_is_handed_on(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    (tmp_path / "index/simple").mkdir(parents=True)
    found = set(places(read(LISTING.format(folder=tmp_path))))
    assert found == {tmp_path, tmp_path / "ca.pem", tmp_path / "index"}
