"""Owns the command lines of the tools of others. What they do is in the modules beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from evaluator.client import check_url

Run = Callable[[Callable[[], int]], None]
"""Exits with a command's code; what is expected to go wrong becomes one clear line."""

LEARNT = Path(__file__).parents[1] / "sets" / "pocket-learnt.jsonl"


def _url(value: str) -> str:
    try:
        return check_url(value)
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc


Url = Annotated[str, typer.Argument(help="The engine, OpenAI-compatible.", callback=_url)]
Questions = Annotated[Path, typer.Option(help="Question set, as for `judge`.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first N.")]
Model = Annotated[str, typer.Option(help="Default: the first that is served.")]
Key = Annotated[str, typer.Option(metavar="NAME", help="The variable that holds the engine's key.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="Of one answer.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Requests at a time.")]
Beside = Annotated[
    Path | None, typer.Option(metavar="REPORT.json", help="Of `judge`, shown beside it.")
]
Json = Annotated[
    Path | None, typer.Option(help="Default: run/TOOL-TIME.json; the tool's files lie beside it.")
]
HumanEval = Annotated[
    bool, typer.Option("--humaneval", help="HumanEval's problems, not questions.")
]
RunCode = Annotated[
    bool,
    typer.Option("--run-code", help="Let the tool run the answers' code, outside any sandbox."),
]
Python = Annotated[Path | None, typer.Option(help="An interpreter that has the tool.")]


def register(app: typer.Typer, run: Run) -> None:
    """Add one command for each tool, all with the same options."""

    def add(name: str, about: str) -> None:
        @app.command(name, help=f"Run {about} over a question set, its figures beside ours.")
        def command(
            url: Url = "http://127.0.0.1:8001",
            *,
            questions: Questions = LEARNT,
            limit: Limit = None,
            model: Model = "",
            key_variable: Key = "ENGINE_API_KEY",
            max_tokens: MaxTokens = 512,
            concurrency: Concurrency = 8,
            beside: Beside = None,
            json: Json = None,
            python: Python = None,
            humaneval: HumanEval = False,
            run_code: RunCode = False,
        ) -> None:
            from evaluator.third_party.command import Options
            from evaluator.third_party.command import run as run_tool
            from evaluator.third_party.lineup import find

            if humaneval and not run_code:
                raise typer.BadParameter(
                    "the tool itself runs the code that a model wrote, outside any sandbox: "
                    "say --run-code as well, or use `humaneval`, which has one",
                    param_hint="--humaneval",
                )
            options = Options(
                url=url,
                questions=questions,
                limit=limit,
                model=model,
                key_variable=key_variable,
                max_tokens=max_tokens,
                concurrency=concurrency,
                beside=beside,
                json=json,
                python=python,
                is_humaneval=humaneval,
            )
            run(lambda: run_tool(find(name), options, Console()))

    add("aisbench", "AISBench")
    add("evalscope", "EvalScope")
    add("lm-eval", "EleutherAI's LM evaluation harness")
