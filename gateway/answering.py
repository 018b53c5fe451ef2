"""Owns how one prompt becomes an answer: budget, engine call, shortening, clean-up.

It knows nothing of batches, order or deadlines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.completion import Completion
from gateway.engine import Engine
from gateway.errors import PromptTooLong
from gateway.metrics import Metrics
from gateway.policy import AnswerRules, Policy, clean
from gateway.sampling import Sampling
from gateway.streaming import Draft

# A prompt of a megabyte halved this often is one token; counts from the engine need two or three.
MAX_SHORTENINGS = 20
# No tokenizer puts more characters than this into a token, on average over a text.
CHARS_PER_TOKEN = 16
# Token counts do not shrink exactly with the characters: aim a little lower.
_MARGIN = 0.96
_CUT = " … "


@dataclass(frozen=True, slots=True)
class Task:
    """One prompt with its sampling, the id under which the engine sees it, and its clean-up."""

    prompt: str
    sampling: Sampling
    request_id: str
    cuts: AnswerRules


class Answerer:
    """Answers single prompts by the policy."""

    def __init__(self, engine: Engine, policy: Policy, metrics: Metrics) -> None:
        self._engine = engine
        self._policy = policy
        self._metrics = metrics
        self.context_tokens = 0
        """The engine's context length once it is known; 0 before."""
        self.prompts_per_call = 1
        """How many prompts one call to the engine may take."""

    def task(
        self, prompt: str, sampling: Sampling, request_id: str, *, has_own_budget: bool
    ) -> Task:
        """Return a prompt's task by the policy, whose budget a request's own one overrules."""
        rule = self._policy.rule_for(prompt)
        if rule is None:
            return Task(prompt, sampling, request_id, self._policy.answer)
        if rule.max_new_tokens and not has_own_budget:
            sampling = replace(sampling, max_new_tokens=rule.max_new_tokens)
        return Task(prompt, sampling, request_id, rule.answer or self._policy.answer)

    async def answer(self, task: Task, draft: Draft) -> str:
        """Return the cleaned answer of one prompt; raises the errors of `Engine.complete`.

        `draft` holds the completion as far as it has come, for `partial`.
        """
        completion = await self._complete(task, draft)
        self._metrics.count_tokens(completion.prompt_tokens, completion.completion_tokens)
        return clean(completion.text, task.cuts)

    async def answer_group(self, tasks: Sequence[Task]) -> list[str | None]:
        """Return the cleaned answers of prompts with one sampling, from one call.

        None stands for an answer that is not whole. Raises what `Engine.complete_group` raises.
        """
        prompts = [self._cut_to_context(task.prompt) for task in tasks]
        first = tasks[0]
        completions, usage = await self._engine.complete_group(
            prompts, first.sampling, first.request_id
        )
        self._metrics.count_tokens(usage.prompt_tokens or 0, usage.completion_tokens or 0)
        for task, prompt in zip(tasks, prompts, strict=True):
            if prompt != task.prompt:
                self._metrics.prompts_shortened.inc()
        return [
            None if completion.is_broken_off else clean(completion.text, task.cuts)
            for task, completion in zip(tasks, completions, strict=True)
        ]

    def partial(self, task: Task, draft: Draft) -> str:
        """Return the cleaned answer as far as it has come, "" when there is none yet."""
        # A character whose bytes were not all there yet.
        return clean(draft.text.rstrip("\ufffd"), task.cuts)

    def _cut_to_context(self, prompt: str) -> str:
        """Spare the engine the tokenizing of what can never fit."""
        if not self.context_tokens:
            return prompt
        return shorten(prompt, self.context_tokens * CHARS_PER_TOKEN)

    async def _complete(self, task: Task, draft: Draft) -> Completion:
        prompt, sampling = self._cut_to_context(task.prompt), task.sampling
        for _ in range(MAX_SHORTENINGS):
            try:
                completion = await self._engine.complete(prompt, sampling, task.request_id, draft)
                break
            except PromptTooLong as exc:
                prompt, sampling = await self._fitted(prompt, sampling, exc)
        else:
            completion = await self._engine.complete(prompt, sampling, task.request_id, draft)
        if prompt != task.prompt:
            self._metrics.prompts_shortened.inc()
        return completion

    async def _fitted(
        self, prompt: str, sampling: Sampling, refusal: PromptTooLong
    ) -> tuple[str, Sampling]:
        """Make smaller what was refused: the budget alone where that is enough, else both."""
        context = refusal.context_tokens or self.context_tokens
        tokens = refusal.prompt_tokens or await self._engine.count_tokens(prompt, sampling)
        budget = fitting_budget(tokens, context, sampling.max_new_tokens)
        if budget == sampling.max_new_tokens or tokens + budget > context:
            prompt = shorten(prompt, fitting_chars(len(prompt), tokens, context, budget))
        return prompt, replace(sampling, max_new_tokens=budget)


def fitting_budget(tokens: int, context_tokens: int, budget_tokens: int) -> int:
    """Tell what is left of an answer's budget beside a prompt, at least half of the context.

    `tokens` and `context_tokens` are 0 when they are not known.
    """
    if not context_tokens:
        return budget_tokens
    room = context_tokens - tokens if tokens else 0
    return min(budget_tokens, max(room, context_tokens // 2, 1))


def fitting_chars(chars: int, tokens: int, context_tokens: int, budget_tokens: int) -> int:
    """Tell how many characters of a prompt fit beside its answer; always fewer than `chars`.

    `tokens` counts the prompt with its template. Without counts: half. The answer's budget is
    left free, though never more than half of the context.
    """
    if not tokens or not context_tokens:
        return chars // 2
    room = context_tokens - min(budget_tokens, context_tokens // 2)
    fitting = int(chars * room / tokens * _MARGIN)
    return min(fitting, chars * 9 // 10)


def shorten(prompt: str, chars: int) -> str:
    """Cut a prompt's middle out, so that at most `chars` characters are left.

    The instruction tends to stand at the start, and the question at the end.
    """
    if len(prompt) <= chars:
        return prompt
    kept = max(chars - len(_CUT), 0)
    tail = kept // 2
    head = kept - tail
    return prompt[:head] + _CUT + prompt[len(prompt) - tail :] if kept else prompt[:chars]
