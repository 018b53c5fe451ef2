"""Owns what the launcher relies on in supervisord.conf. It starts no supervisord."""

from __future__ import annotations

import configparser
from collections.abc import Iterator, Mapping
from pathlib import Path

from launcher.checks.result import Result, failure, ok, skipped, warning
from launcher.settings import LauncherSettings

NAME = "supervisord.conf"
# What each program's command has to run.
PROGRAMS = {"engine": "launcher engine", "gateway": "gateway"}
# Setting, wanted value, what goes wrong otherwise.
RELIED_ON = (
    ("autorestart", ("unexpected", "true"), "an engine that dies stays dead"),
    ("exitcodes", ("3",), "an engine that ends with 0 stays dead"),
    ("stopasgroup", ("false",), "a second SIGTERM breaks off the engine's clean-up"),
    ("killasgroup", ("true",), "a killed engine leaves processes on the card"),
)
# supervisor's own defaults, where the file says nothing.
_DEFAULTS = {
    "autorestart": "unexpected",
    "exitcodes": "0",
    "stopasgroup": "false",
    "killasgroup": "false",
    "stopwaitsecs": "10",
}
# The guardian kills after ENGINE_STOP_TIMEOUT_S, and then clears up.
STOP_MARGIN_S = 5


def check(path: Path, settings: LauncherSettings) -> Result:
    """Read the file and compare it with what the launcher relies on."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return skipped(NAME, f"there is no {path.name} beside the packages")
    except (OSError, UnicodeDecodeError, configparser.Error) as exc:
        reason = " ".join(str(exc).split())
        return failure(NAME, f"cannot be read: {reason}", "restore it: git checkout " + NAME)
    return judge({name: dict(parser[name]) for name in parser.sections()}, settings)


def judge(sections: Mapping[str, Mapping[str, str]], settings: LauncherSettings) -> Result:
    """Judge the file's sections."""
    missing = list(_missing(sections))
    if missing:
        return failure(NAME, "; ".join(missing), "restore it: git checkout " + NAME)
    risks = list(_risks(sections, settings))
    if risks:
        return warning(NAME, "; ".join(risks), "change it back, unless it is meant")
    return ok(NAME, "engine and gateway, restarted and stopped as the launcher relies on")


def _missing(sections: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for program, command in PROGRAMS.items():
        section = sections.get(f"program:{program}")
        if section is None:
            yield f"no [program:{program}]"
        elif f"-m {command}" not in section.get("command", ""):
            yield f"[program:{program}] does not run `-m {command}`"


def _risks(sections: Mapping[str, Mapping[str, str]], settings: LauncherSettings) -> Iterator[str]:
    for program in PROGRAMS:
        section = sections[f"program:{program}"]
        for key, wanted, otherwise in RELIED_ON:
            value = section.get(key, _DEFAULTS[key])
            # With `true` everything is started again, whatever the exit codes say.
            is_moot = key == "exitcodes" and section.get("autorestart") == "true"
            if value not in wanted and not is_moot:
                yield f"[program:{program}] {key}={value}: {otherwise}"
    wait = sections["program:engine"].get("stopwaitsecs", _DEFAULTS["stopwaitsecs"])
    needed = settings.engine_stop_timeout_s + STOP_MARGIN_S
    if not wait.isdigit() or int(wait) < needed:
        yield f"[program:engine] stopwaitsecs={wait}: less than ENGINE_STOP_TIMEOUT_S + 5"
