"""Shows where the time of vLLM's API server goes while batches are answered: py-spy's samples.

Needs a running service (`scripts/serve`); PROMPTS_PER_CALL=1 before that shows single calls.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

import aiohttp
import psutil

from benchmarks.fanout_profile import by_package, costs, recorded
from benchmarks.rounds import pocket_questions

REPOSITORY = Path(__file__).parents[1]
ROWS = 15


async def main() -> None:
    """Ask for batches while the API server is sampled; print its largest costs."""
    args = _arguments()
    state = json.loads((REPOSITORY / "run" / "engine.json").read_text(encoding="utf-8"))
    server = psutil.Process(state["pid"])
    body = {"prompt": pocket_questions(args.prompts), "max_new_tokens": args.max_new_tokens}
    with tempfile.TemporaryDirectory(prefix="evalgate-bench-") as folder:
        file = Path(folder) / "stacks"
        async with aiohttp.ClientSession(f"http://127.0.0.1:{args.gateway_port}") as session:
            await _post(session, body)
            start, before = time.perf_counter(), sum(server.cpu_times()[:2])
            with recorded(server.pid, file):
                for _ in range(args.batches):
                    await _post(session, body)
            seconds, after = time.perf_counter() - start, sum(server.cpu_times()[:2])
        stacks = file.read_text(encoding="utf-8")
    per_prompt = (after - before) / (args.batches * args.prompts) * 1e6
    print(f"{args.batches} × {args.prompts} prompts × {args.max_new_tokens} tokens:")
    print(f"API server busy {(after - before) / seconds:.0%}, {per_prompt:.0f} µs per prompt")
    print("\nby vLLM's functions, each with what it calls in libraries")
    for cost in by_package(stacks, "vllm")[:ROWS]:
        print(f"{cost.own:6.1%}  {cost.function}")
    print("\nby function, in itself (and with all that it calls)")
    for cost in costs(stacks)[:ROWS]:
        print(f"{cost.own:6.1%} ({cost.whole:6.1%})  {cost.function}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench api_server", description=__doc__)
    parser.add_argument("--prompts", type=int, default=358)
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--batches", type=int, default=5)
    parser.add_argument("--gateway-port", type=int, default=8000)
    return parser.parse_args()


async def _post(session: aiohttp.ClientSession, body: dict[str, object]) -> None:
    async with session.post("/predict", json=body) as response:
        response.raise_for_status()
        await response.read()


if __name__ == "__main__":
    asyncio.run(main())
