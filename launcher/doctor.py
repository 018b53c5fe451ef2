"""`python -m launcher doctor`: will this submission fit the evaluator's limits?

It has the facts gathered, runs the checks on them and prints; each check is in launcher/checks.
Exit code 0: no failure; 1: a failure; 2: usage; 3: the settings cannot be read.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import anyio
from rich.console import Console

from launcher import model_sizes as sizes
from launcher.checks import (
    build_time,
    deadlines,
    device_variables,
    disk,
    end_tokens,
    engine_flags,
    hardware,
    memory,
    model_files,
    model_parts,
    ports,
    secrets,
    submission,
    supervision,
    table,
)
from launcher.checks.facts import Facts, Place, Question, gather
from launcher.checks.model_facts import NOT_HERE
from launcher.checks.result import Result, Status, skipped, worst
from launcher.model_folder import context_len
from launcher.model_listing import free_bytes
from launcher.resolve import names_chat_template
from launcher.settings import LauncherSettings
from launcher.tracks import LIMITS, MACHINES, Track

T = TypeVar("T")

# The evaluators' own, for a plan without a track.
USUAL_BANDWIDTH_MBIT_S = 100.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "--track",
        type=Track,
        choices=list(Track),
        metavar="|".join(track.value for track in Track),
        help="check against this track's limits and machine instead of this machine",
    )
    parser.add_argument(
        "--model-size",
        type=_argument(sizes.parse_size),
        metavar="SIZE",
        help="size of a model that is not at hand: 8GB, 14GiB or bytes",
    )
    parser.add_argument(
        "--bandwidth",
        type=_argument(sizes.parse_bandwidth),
        metavar="MBIT",
        help="Mbit/s of the build's download; default: the track's 100",
    )
    parser.add_argument(
        "--card-memory",
        type=_argument(sizes.parse_size),
        metavar="SIZE",
        help="memory of one card, where no tool tells: 80GiB",
    )
    parser.add_argument("--offline", action="store_true", help="do not ask ModelScope")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(
    args: argparse.Namespace,
    settings: LauncherSettings,
    environ: Mapping[str, str],
    place: Place | None = None,
) -> int:
    """Make the checks, print them and return the exit code."""
    question = Question(args.track, args.model_size, args.bandwidth, args.card_memory, args.offline)
    results = anyio.run(examine, question, settings, environ, place or Place())
    if args.json:
        print(table.as_json(results, question.track.value if question.track else None))
    else:
        table.show(results, Console(highlight=False))
    return 1 if worst(results) is Status.FAILURE else 0


async def examine(
    question: Question, settings: LauncherSettings, environ: Mapping[str, str], place: Place
) -> list[Result]:
    """Make every check and return the rows, in the order of the way from build to answer."""
    with tempfile.TemporaryDirectory() as scratch:
        facts = await gather(question, settings, environ, place, Path(scratch))
        return [
            *_machine(question, settings, environ, facts),
            *_model(question, settings, facts),
            *_configuration(question, settings, environ, facts, place),
            *_submission(question, facts),
        ]


def _machine(
    question: Question, settings: LauncherSettings, environ: Mapping[str, str], facts: Facts
) -> Iterator[Result]:
    track = question.track
    yield hardware.check(facts.hardware, track)
    yield build_time.check(
        facts.download_bytes,
        origin=" and ".join([facts.model.origin, *(part.asked.name for part in facts.parts)]),
        bandwidth_mbit_s=_bandwidth(question),
        limit_s=LIMITS[track].build_s if track else None,
    )
    yield _disk(question, settings, facts)
    yield _memory(question, settings, environ, facts)


def _bandwidth(question: Question) -> float:
    of_track = MACHINES[question.track].bandwidth_mbit_s if question.track else None
    return question.bandwidth_mbit_s or of_track or USUAL_BANDWIDTH_MBIT_S


def _disk(question: Question, settings: LauncherSettings, facts: Facts) -> Result:
    track, to_fetch = question.track, facts.download_bytes
    if track is not None:
        where = f"track {track.value}'s disk"
        room = MACHINES[track].disk_bytes
        return disk.check(to_fetch, room, where=where, copies=disk.COPIES_IN_A_BUILD)
    if facts.model.is_local and question.model_bytes is None:
        to_fetch = 0
    room = free_bytes(settings.model_root)
    return disk.check(to_fetch, room, where=f"free disk for {settings.model_root}", copies=1)


def _memory(
    question: Question, settings: LauncherSettings, environ: Mapping[str, str], facts: Facts
) -> Result:
    device = hardware.memory_device(
        facts.hardware, question.track, settings, environ, question.card_bytes
    )
    if device is None:
        why_not = f"the memory of {facts.hardware.description} is not known; --card-memory names it"
        return memory.check(None, None, why_not)
    demand = _demand(settings, facts)
    return memory.check(device, demand, "the size of the weights is not known")


def _demand(settings: LauncherSettings, facts: Facts) -> memory.Demand | None:
    if facts.weights_bytes is None:
        return None
    declared = context_len(facts.model.folder) if facts.model.folder else None
    at_once = (facts.gateway.batch_concurrency, settings.vllm_max_num_seqs)
    return memory.Demand(
        weights_bytes=facts.weights_bytes,
        config=facts.model.config,
        part_configs=tuple(part.config for part in facts.parts),
        dtype=settings.dtype,
        kv_cache_dtype=settings.vllm_kv_cache_dtype,
        context_len=settings.max_model_len or declared,
        concurrency=min(number for number in at_once if number is not None),
        max_new_tokens=facts.gateway.max_new_tokens,
    )


def _model(question: Question, settings: LauncherSettings, facts: Facts) -> Iterator[Result]:
    folder = facts.model.folder
    why_not = "" if folder else NOT_HERE if settings.model_id else "no model is at hand"
    if settings.model_id or settings.model_dir or question.model_bytes is None:
        yield model_files.check(facts.model, settings, is_for_track=question.track is not None)
    else:
        yield skipped(model_files.NAME, "only the model's size is given")
    for part in facts.parts:
        yield model_parts.check(part, is_for_track=question.track is not None)
    is_named = names_chat_template(settings)
    yield end_tokens.check_template(folder, why_not, is_named=is_named)
    yield end_tokens.check_tokens(end_tokens.read(folder) if folder else None, why_not)


def _configuration(
    question: Question,
    settings: LauncherSettings,
    environ: Mapping[str, str],
    facts: Facts,
    place: Place,
) -> Iterator[Result]:
    track = question.track
    yield engine_flags.check(settings, facts.engine, track)
    if track is not None:
        yield engine_flags.check_card(settings, track)
    yield facts.gateway_check
    yield deadlines.check_mode(facts.gateway)
    yield deadlines.check_predict(facts.gateway, track)
    yield deadlines.check_health(settings, track)
    yield ports.check(settings, facts.port_problems, track)
    yield device_variables.check(environ, facts.dockerfile or "")
    yield supervision.check(place.repository / supervision.NAME, settings)


def _submission(question: Question, facts: Facts) -> Iterator[Result]:
    checkout, why_not = facts.submission.checkout, facts.submission.why_not
    if checkout is None:
        for name in (submission.STATE_NAME, submission.DOCKERFILE_NAME, secrets.NAME):
            yield skipped(name, why_not)
        yield skipped(submission.HOSTING_NAME, why_not)
        return
    yield submission.check_state(checkout)
    yield submission.check_dockerfile(
        checkout,
        is_here=facts.dockerfile is not None,
        is_for_track=question.track is not None,
    )
    yield secrets.check(facts.submission.secret_places, checkout.tracked, why_not)
    yield submission.check_hosting(checkout)


def _argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Have argparse show the message of a ValueError, which it hides."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except ValueError as exc:
            raise argparse.ArgumentTypeError(str(exc)) from exc

    return parsed
