"""Runs in the engine's interpreter: answers one JSON line per JSON line, with `LLM.chat`.

The time is taken around that one call: no HTTP, no pipe and no JSON is in it.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> None:
    """Load the engine, then answer until stdin ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the engine prints on its own account
    from vllm import LLM, SamplingParams  # type: ignore[import-not-found]

    llm = LLM(**json.loads(sys.argv[1]))
    print("{}", file=out, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        start = time.perf_counter()
        outputs = llm.chat(
            [[{"role": "user", "content": prompt}] for prompt in request["prompts"]],
            SamplingParams(temperature=0, max_tokens=request["max_tokens"]),
            use_tqdm=False,
            chat_template_kwargs={"enable_thinking": False},
        )
        answers = [output.outputs[0].text for output in outputs]
        seconds = time.perf_counter() - start
        tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
        reply = {"answers": answers, "seconds": seconds, "tokens": tokens}
        print(json.dumps(reply), file=out, flush=True)


if __name__ == "__main__":
    main()
