"""`python -m evaluator COMMAND`: reads the command line, runs one command.

Exit codes: 0 fine; 1 the submission fails, a threshold is missed, a question has no answer;
2 usage; 3 cannot run as asked; 130 interrupted. What takes seconds to load (jieba, scipy, docx) is
imported by the command that needs it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from evaluator import answer_command, interrupts, report
from evaluator.answer_journal import JournalError
from evaluator.answering import Patience
from evaluator.client import check_url
from evaluator.files import CannotWrite, cannot_write, replace_file
from evaluator.humaneval import commands as humaneval_commands
from evaluator.service import CannotRun
from evaluator.third_party import commands as third_party_commands
from evaluator.tracks import Track, limits_of

CANNOT_RUN = 3
_EXPECTED = (
    CannotRun,
    CannotWrite,
    JournalError,
    answer_command.CannotAnswer,
    report.UnreadableReport,
)

app = typer.Typer(
    name="evaluator",
    help="The evaluation itself, run at home, against any service with GET / and POST /predict.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _url(value: str) -> str:
    try:
        return check_url(value)
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc


def _more_than_0(value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise typer.BadParameter(f"{value:g} is not a number over 0")
    return value


Url = Annotated[str, typer.Argument(help="Base URL of the service.", callback=_url)]
Seconds = Annotated[float | None, typer.Option(callback=_more_than_0, metavar="SECONDS")]


@app.command()
def judge(
    url: Url = "http://127.0.0.1:8000",
    *,
    questions: Annotated[
        Path, typer.Option(help="Question set: docx, JSON lines, JSON array or CSV.")
    ],
    limit: Annotated[int | None, typer.Option(min=1, help="Ask only the first N.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="Ask N drawn at random.")] = None,
    seed: Annotated[int, typer.Option(help="Of the drawing.")] = 0,
    track: Annotated[Track, typer.Option(help="Whose limits.")] = Track.METAX,
    build_limit: Seconds = None,
    health_limit: Seconds = None,
    predict_limit: Seconds = None,
    build: Annotated[str, typer.Option(metavar="CMD", help="Run and time this first.")] = "",
    start: Annotated[
        str,
        typer.Option(metavar="CMD", help="Start the service by this; it is stopped at the end."),
    ] = "",
    leak_check: Annotated[
        Path | None,
        typer.Option(metavar="TRAINING_FILE", help="Count the questions that stand in this file."),
    ] = None,
    json: Annotated[
        Path | None, typer.Option(help="Every record; default: run/judge-TIME.json.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="The page; default: the JSON file's name with .html.")
    ] = None,
    min_accuracy: Annotated[
        float | None, typer.Option(min=0, max=1, help="Exit with 1 under this official accuracy.")
    ] = None,
    min_speed: Annotated[
        float | None, typer.Option(min=0, help="Exit with 1 under these characters per second.")
    ] = None,
    name: Annotated[str, typer.Option(help="Of the run, in reports and comparisons.")] = "",
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="A tokenizer.json, or a model's folder, to count real tokens with."),
    ] = None,
) -> None:
    """Run the whole evaluation by the evaluator's rules and tell what it would say, and why."""
    from evaluator import judge_command

    options = judge_command.Options(
        url=url,
        questions=questions,
        track=track,
        limits=limits_of(track, build_limit, health_limit, predict_limit),
        limit=limit,
        sample=sample,
        seed=seed,
        start=start,
        build=build,
        leak_check=leak_check,
        json=json,
        html=html,
        min_accuracy=min_accuracy,
        min_speed=min_speed,
        name=name,
        tokenizer=tokenizer,
    )
    _run(lambda: judge_command.run(options, Console()))


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A.json", help="The run before.")],
    b: Annotated[Path, typer.Argument(metavar="B.json", help="The run after.")],
    json: Annotated[Path | None, typer.Option(help="Write the whole comparison here.")] = None,
) -> None:
    """Show what changed between two runs, and whether it is more than noise."""
    _run(lambda: _compare(a, b, json))


def _compare(a: Path, b: Path, json: Path | None) -> int:
    from evaluator import compare as comparing

    comparison = comparing.compare(report.read(a), report.read(b))
    comparing.show(comparison, Console())
    if json is not None:
        with cannot_write(json):
            replace_file(json, comparing.to_json(comparison).encode())
    return 0


@app.command()
def answer(
    questions: Annotated[Path, typer.Argument(help='JSON: [{"id", "question"}, …].')],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file with the answers.")],
    url: Annotated[
        str, typer.Option(help="Base URL of the service.", callback=_url)
    ] = "http://127.0.0.1:8000",
    chunk: Annotated[
        int,
        typer.Option(min=1, help="Questions in one POST; 1 sends each as a string, not a list."),
    ] = 64,
    timeout: Annotated[
        float, typer.Option(callback=_more_than_0, metavar="SECONDS", help="For one POST.")
    ] = Patience.request_s,
    recovery: Annotated[
        float,
        typer.Option(
            callback=_more_than_0,
            metavar="SECONDS",
            help="How long to wait for a service that is not healthy.",
        ),
    ] = Patience.recovery_s,
) -> None:
    """Answer a question file; interrupted, the same command goes on where it was."""
    patience = Patience(request_s=timeout, recovery_s=recovery)
    options = answer_command.Options(questions, out, url, chunk, patience)
    _run(lambda: answer_command.run(options, Console()))


def _run(command: Callable[[], int]) -> None:
    """Exit with a command's code; what is expected to go wrong becomes one clear line."""
    try:
        code = command()
    except _EXPECTED as exc:
        print(f"evaluator: {exc}", file=sys.stderr)
        code = CANNOT_RUN
    except KeyboardInterrupt:
        print("evaluator: interrupted", file=sys.stderr)
        code = interrupts.EXIT_CODE
    raise typer.Exit(code)


humaneval_commands.register(app, _run)
third_party_commands.register(app, _run)


if __name__ == "__main__":
    # A terminal that cannot show a character must not cost the run.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    app(prog_name="evaluator")
