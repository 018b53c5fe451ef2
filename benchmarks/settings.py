"""Compares settings of the engine with the defaults: one engine and one gateway for each, in turns.

scripts/bench settings VLLM_MAX_NUM_SEQS=64 "OMP_WAIT_POLICY=passive KMP_BLOCKTIME=1" …
Whatever is not more than 5 % off after two rounds is left at that; the rest is asked on.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp
import anyio

from benchmarks import plot
from benchmarks.batch_rounds import Load, Measured, spread, take_turns
from benchmarks.contestants.contestant import CONCURRENCY, Ask, completions_at, predict_at
from benchmarks.contestants.program import Program, end_on_sigterm, running
from benchmarks.endless import make_endless
from benchmarks.fanout_gateway import gateway
from benchmarks.rounds import pocket_questions
from launcher.plan import plan_engine
from launcher.resolve import resolve_model_dir
from launcher.settings import load_settings
from tests.ports import free_port

REPOSITORY = Path(__file__).parents[1]
DEFAULT = "default"
FIRST_ROUNDS = 2
DIFFERENCE = 0.05


@dataclass(frozen=True)
class Compared:
    """A variant, and its ratio to the default in each round."""

    measured: Measured
    ratios: tuple[float, ...]

    @property
    def is_promising(self) -> bool:
        """Whether it differs enough from the default to be asked on."""
        return bool(self.ratios) and abs(statistics.median(self.ratios) - 1) > DIFFERENCE


def main() -> None:
    """Start an engine for each variant, run the rounds, print the table."""
    args = _arguments()
    end_on_sigterm()
    subprocess.run([REPOSITORY / "scripts" / "prepare"], check=True)
    variants = [DEFAULT, *args.variants]
    with tempfile.TemporaryDirectory(prefix="evalgate-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        model_dir = make_endless(resolve_model_dir(load_settings(os.environ)), folder / "model")
        starting = {
            text: stack.enter_context(_engine(text, model_dir, folder, index))
            for index, text in enumerate(variants)
        }
        asks = {text: ready(stack, args.direct) for text, ready in starting.items()}
        load = Load(pocket_questions(args.prompts), args.tokens, args.rounds)
        results = asyncio.run(_measure(asks, load))
    print(f"\n{args.prompts} prompts × {args.tokens} tokens\n")
    print(table(results))
    document = {
        text: {**row.measured.document(), "ratios": row.ratios} for text, row in results.items()
    }
    plot.write_json(args.output / "settings.json", {"tokens": args.tokens, "variants": document})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench settings", description=__doc__)
    parser.add_argument("variants", nargs="+", help="NAME=VALUE, several in one: in quotes")
    parser.add_argument("--prompts", type=int, default=358)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--direct", action="store_true", help="ask the engines without a gateway")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "run" / "bench")
    return parser.parse_args()


def parse(text: str) -> dict[str, str]:
    """Return the settings in `text`: NAME=VALUE, separated by spaces; none for the default."""
    return {} if text == DEFAULT else dict(part.split("=", 1) for part in text.split())


@contextmanager
def _engine(
    text: str, model_dir: Path, folder: Path, index: int
) -> Iterator[Callable[[ExitStack, bool], Ask]]:
    """Start the engine that the launcher would, with these settings; then how to get ready."""
    port = free_port()
    environ = {
        **os.environ,
        "MODEL_DIR": str(model_dir),
        "ENGINE_PORT": str(port),
        **parse(text),
    }
    plan = anyio.run(lambda: plan_engine(load_settings(environ), environ))
    with running(plan.argv, plan.env, folder / f"engine{index}.log") as program:
        yield partial(_ready, program, f"http://127.0.0.1:{port}", text, folder)


def _ready(
    program: Program, engine_url: str, text: str, folder: Path, stack: ExitStack, is_direct: bool
) -> Ask:
    program.wait_for(f"{engine_url}/health")
    if is_direct:
        return completions_at(engine_url)
    name = f"gateway-{program.name}"
    started = stack.enter_context(gateway(engine_url, folder, name, **parse(text)))
    return predict_at(f"http://127.0.0.1:{started.port}")


async def _measure(asks: Mapping[str, Ask], load: Load) -> dict[str, Compared]:
    connector = aiohttp.TCPConnector(limit=CONCURRENCY)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        first = Load(load.prompts, load.max_tokens, FIRST_ROUNDS)
        rows = compare(await take_turns(asks, first, session, _no_tokens))
        print(f"after {FIRST_ROUNDS} rounds:\n{table(rows)}", file=sys.stderr, flush=True)
        others = {text: asks[text] for text, row in rows.items() if row.is_promising}
        if others:
            asked = {DEFAULT: asks[DEFAULT], **others}
            rows.update(compare(await take_turns(asked, load, session, _no_tokens)))
    return rows


async def _no_tokens() -> int:
    """The answers' characters tell whether the same was generated."""
    return 0


def compare(results: Mapping[str, Measured]) -> dict[str, Compared]:
    """Return each variant beside the default of the same rounds."""
    default = results[DEFAULT]
    return {text: Compared(one, tuple(one.ratios_to(default))) for text, one in results.items()}


def table(rows: Mapping[str, Compared]) -> str:
    """Return a Markdown table; a ratio is to the default in the same round."""
    lines = ["| settings | s | ÷ default | rounds | characters |", "|---|---|---|---|---|"]
    for text, row in rows.items():
        one = row.measured
        cells = [f"`{text}`", spread(one.seconds), spread(list(row.ratios)), str(len(one.seconds))]
        lines.append(f"| {' | '.join([*cells, one.reason or str(one.chars)])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
