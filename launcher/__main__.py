"""`python -m launcher COMMAND`: reads the settings, runs one command, turns errors into exit codes.

Commands import what they need when they run: `engine` must not wait for what `model` needs.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from asyncio import CancelledError
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import LauncherError
from launcher.settings import LauncherSettings, load_settings


@dataclass(frozen=True)
class Command:
    """A subcommand: what it does, its arguments, its work (which returns the exit code)."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, LauncherSettings], int]


def main(arguments: Sequence[str]) -> int:
    """Run one command and return the process's exit code."""
    args = _parse(arguments)
    prefix = "engine" if args.command == "engine" else "evalgate launcher"
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format=f"{prefix}: %(message)s")
    logging.getLogger("launcher").setLevel(logging.INFO)
    try:
        return COMMANDS[args.command].run(args, load_settings(os.environ))
    except LauncherError as exc:
        print(f"evalgate launcher: {exc}", file=sys.stderr)
        return exc.exit_code
    except (KeyboardInterrupt, CancelledError):  # the latter from asyncio before Python 3.11
        return 130


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m launcher", description="Evalgate's launcher.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = next((word for word in arguments if word in COMMANDS), None)
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=command.help, description=command.help)
        if name == chosen:
            command.add_arguments(subparser)
    return parser.parse_args(arguments)


def _run_engine(args: argparse.Namespace, settings: LauncherSettings) -> int:
    import anyio

    if settings.engine == "external":
        from launcher import external

        return anyio.run(external.run, settings)
    from launcher import guardian
    from launcher.plan import plan_engine

    return anyio.run(
        guardian.run, settings, lambda rung: plan_engine(settings, os.environ, rung=rung)
    )


def _add_model_arguments(parser: argparse.ArgumentParser) -> None:
    from launcher import model_upload

    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    uploading = actions.add_parser("upload", help="Put a model folder on ModelScope.")
    model_upload.add_arguments(uploading)


def _run_model(args: argparse.Namespace, settings: LauncherSettings) -> int:
    if args.action == "upload":
        from launcher import model_upload

        return model_upload.run(args, settings)
    if _has_no_model(settings):
        print(f"evalgate: ENGINE={settings.engine} brings its own model", file=sys.stderr)
        return 0
    import anyio

    from launcher.interpreter import find_engine_python
    from launcher.resolve import fetch_model

    async def find() -> Path:
        # To train the pocket model with; the base of an image may have another engine than vLLM.
        return await find_engine_python(settings.engine_python, package="torch", title="PyTorch")

    print(fetch_model(settings, lambda: anyio.run(find)))
    return 0


def _has_no_model(settings: LauncherSettings) -> bool:
    """Whether no model of ours is served, and none was asked for: a tokenizer would be one."""
    names_one = settings.model_id is not None or settings.model_dir is not None
    return settings.engine == "external" or (settings.engine == "triton" and not names_one)


def _add_flags_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--refresh", action="store_true", help="ask again, not the cache")


def _run_flags(args: argparse.Namespace, settings: LauncherSettings) -> int:
    import anyio

    from launcher.engines.catalog import kind_of
    from launcher.plan import ask_flags, find_engine

    if settings.engine == "external" or not kind_of(settings).flags_module:
        print(f"evalgate: ENGINE={settings.engine} is not asked for arguments", file=sys.stderr)
        return 0

    async def ask() -> frozenset[str] | None:
        engine = await find_engine(settings, os.environ)
        return await ask_flags(settings, engine, refresh=args.refresh)

    flags = anyio.run(ask)
    if flags is None:
        raise LauncherError("the engine did not tell which arguments it knows")
    print("\n".join(sorted(flags)))
    return 0


def _add_chat_arguments(parser: argparse.ArgumentParser) -> None:
    from launcher import chat

    chat.add_arguments(parser)


def _run_chat(args: argparse.Namespace, settings: LauncherSettings) -> int:
    from launcher import chat

    key = settings.engine_api_key
    return chat.run(
        args,
        engine_url=settings.engine_url,
        model=settings.served_model_name,
        gateway_url=f"http://127.0.0.1:{settings.gateway_port}",
        api_key=key.get_secret_value() if key is not None else None,
    )


def _add_doctor_arguments(parser: argparse.ArgumentParser) -> None:
    from launcher import doctor

    doctor.add_arguments(parser)


def _run_doctor(args: argparse.Namespace, settings: LauncherSettings) -> int:
    from launcher import doctor

    return doctor.run(args, settings, os.environ)


def _add_status_arguments(parser: argparse.ArgumentParser) -> None:
    from launcher import status

    status.add_arguments(parser)


def _run_status(args: argparse.Namespace, settings: LauncherSettings) -> int:
    from launcher import status

    return status.run(args, settings)


def _add_nothing(parser: argparse.ArgumentParser) -> None:
    """For commands without arguments."""


COMMANDS = {
    "engine": Command(
        "Run the engine until it ends; supervisord's job.", _add_nothing, _run_engine
    ),
    "model": Command(
        "Fetch the model, or train the pocket model; `model upload`: put one on ModelScope.",
        _add_model_arguments,
        _run_model,
    ),
    "flags": Command("List the arguments of the engine.", _add_flags_arguments, _run_flags),
    "doctor": Command(
        "Check model, configuration and repository against the evaluator's limits.",
        _add_doctor_arguments,
        _run_doctor,
    ),
    "status": Command(
        "Show what the service is doing, live; exit code 0: ready, 1: not.",
        _add_status_arguments,
        _run_status,
    ),
    "chat": Command("Talk to the engine, for debugging.", _add_chat_arguments, _run_chat),
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
