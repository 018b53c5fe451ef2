"""Runs one program and tells how it ended: the innermost process, executed from its source text.

Standard library only. Whatever holds the program in was set up outside of it.
"""

import json
import os
import sys
from typing import Any

FILE = "program.py"
MAX_ERROR = 2_000


def main() -> None:
    """Take the order from standard input; answer on what is standard output at first."""
    own_pid = os.getpid()
    order = json.loads(sys.stdin.buffer.read())
    out = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    _tell(out, {"nonce": order["nonce"], "started": True})
    error = _run(order["program"])
    if os.getpid() != own_pid:
        os._exit(0)  # a child of the program's: its end is no verdict
    # Without the nonce a program could write its own verdict here.
    _tell(out, {"nonce": order["nonce"], "error": error})
    # Not sys.exit: threads and exit handlers of the program have no say any more.
    os._exit(0)


def _run(program: str) -> "str | None":
    try:
        # No __name__ of a main program: what an answer runs then is not asked for.
        exec(compile(program, FILE, "exec"), {})
    except BaseException as exc:
        return _describe(exc, program)
    return None


def _describe(exc: BaseException, program: str) -> str:
    """Name the error; one without words, as of most tests' assertions, by the line it is from."""
    try:
        text = str(exc) or _line_of(exc, program)
    except BaseException:
        text = ""
    return f"{type(exc).__name__}: {text}"[:MAX_ERROR].encode("utf-8", "replace").decode()


def _line_of(exc: BaseException, program: str) -> str:
    line, step = "", exc.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == FILE:
            line = program.split("\n")[step.tb_lineno - 1].strip()
        step = step.tb_next
    return line


def _tell(out: int, message: "dict[str, Any]") -> None:
    os.write(out, b"\n" + json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
