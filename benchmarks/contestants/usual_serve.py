"""Runs in the engine's interpreter: what most who serve such an evaluator write. No error handling.

No deadline, no check of the input, no restart: it is here for its speed only.
"""

from __future__ import annotations

import json
import os

from fastapi import FastAPI  # type: ignore[import-not-found,unused-ignore]
from pydantic import BaseModel
from vllm import LLM, SamplingParams  # type: ignore[import-not-found]

llm = LLM(**json.loads(os.environ["LLM_ARGUMENTS"]))
app = FastAPI()


class Question(BaseModel):
    """The body of a request."""

    prompt: list[str]
    max_new_tokens: int = 32


@app.get("/")  # type: ignore[untyped-decorator,unused-ignore]
def health() -> dict[str, str]:
    """Say that all questions may come at once."""
    return {"status": "batch"}


@app.post("/predict")  # type: ignore[untyped-decorator,unused-ignore]
def predict(question: Question) -> dict[str, object]:
    """Answer them; the tokens are counted for the comparison."""
    outputs = llm.chat(
        [[{"role": "user", "content": prompt}] for prompt in question.prompt],
        SamplingParams(temperature=0, max_tokens=question.max_new_tokens),
        use_tqdm=False,
        chat_template_kwargs={"enable_thinking": False},
    )
    completions = [output.outputs[0] for output in outputs]
    return {
        "response": [completion.text for completion in completions],
        "tokens": sum(len(completion.token_ids) for completion in completions),
    }
