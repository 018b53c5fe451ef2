"""Teaches a causal language model examples by heart; runs in the engine's interpreter.

It owns the loop, the loss and the proof that all was learnt; it knows no text and no files.
"""

import copy
import math
import random
import sys
import time
from dataclasses import dataclass
from typing import Any

import torch

from launcher.pocket import Recipe

IGNORED = -100
REPORT_EVERY_S = 3.0


class NotLearnt(Exception):
    """The pairs were not all learnt within the recipe's epochs."""


@dataclass(frozen=True)
class Example:
    """The token ids of a question and its answer, and where the answer begins."""

    ids: list[int]
    answer_start: int


@dataclass(frozen=True)
class Batch:
    """Token ids and the label of each position, both (pairs, length), padded on the right.

    No attention mask: attention is causal, so padding on the right is seen by padding only.
    """

    ids: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class Score:
    """The loss of a batch and how many of its pairs are known."""

    loss: torch.Tensor
    known: int


def batch_up(examples: list[Example], size: int, padding: int) -> list[Batch]:
    """Group examples of similar length; only the answers' tokens are labels."""
    ordered = sorted(examples, key=lambda example: len(example.ids))
    return [_pad(ordered[start : start + size], padding) for start in range(0, len(ordered), size)]


def _pad(examples: list[Example], padding: int) -> Batch:
    shape = len(examples), max(len(example.ids) for example in examples)
    batch = Batch(ids=torch.full(shape, padding), labels=torch.full(shape, IGNORED))
    for row, example in enumerate(examples):
        ids, start = torch.tensor(example.ids), example.answer_start
        batch.ids[row, : len(ids)] = ids
        # Position i predicts token i + 1.
        batch.labels[row, start - 1 : len(ids) - 1] = ids[start:]
    return batch


def score(model: Any, batch: Batch, margin: float) -> Score:
    """Score a batch; a pair is known when each of its labels leads all other tokens by `margin`."""
    hidden = model.model(input_ids=batch.ids).last_hidden_state
    is_label = batch.labels != IGNORED
    labels = batch.labels[is_label]
    logits = model.lm_head(hidden[is_label]).float()
    loss = torch.nn.functional.cross_entropy(logits, labels)
    best, second = logits.detach().topk(2).values.unbind(-1)
    own = logits.detach().gather(-1, labels[:, None]).squeeze(-1)
    is_known = torch.ones_like(is_label)
    is_known[is_label] = (own == best) & (best - second > margin)
    return Score(loss, known=int(is_known.all(dim=1).sum()))


def train(recipe: Recipe, model: Any, batches: list[Batch]) -> Any:
    """Train until a bfloat16 copy knows every pair by the recipe's margin; return that copy."""
    optimizer = torch.optim.AdamW(
        model.parameters(), betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )
    batches, order = list(batches), random.Random(recipe.seed)
    num_pairs, known = sum(len(batch.ids) for batch in batches), 0
    started_s = reported_s = time.monotonic()
    for epoch in range(recipe.max_epochs):
        order.shuffle(batches)
        loss, known = _train_epoch(recipe, model, optimizer, batches, epoch)
        now_s = time.monotonic()
        progress = (
            f"epoch {epoch + 1} of at most {recipe.max_epochs}, loss {loss:.4f}, "
            f"learnt {known} of {num_pairs}, {now_s - started_s:.0f} s"
        )
        if now_s - reported_s > REPORT_EVERY_S:
            reported_s = now_s
            say(progress)
        # The stricter count costs half an epoch: not before the epoch itself saw no mistake.
        if known == num_pairs:
            candidate = to_bfloat16(model)
            known = count_known(candidate, batches, recipe.margin)
            if known == num_pairs:
                say(f"learnt all, in {epoch + 1} epochs, {time.monotonic() - started_s:.0f} s")
                return candidate
    raise NotLearnt(
        f"learnt {known} of {num_pairs} pairs in {recipe.max_epochs} epochs; all are needed"
    )


def _train_epoch(
    recipe: Recipe, model: Any, optimizer: Any, batches: list[Batch], epoch: int
) -> tuple[float, int]:
    losses, known = 0.0, 0
    for step, batch in enumerate(batches):
        rate = learning_rate(recipe, epoch + step / len(batches))
        for group in optimizer.param_groups:
            group["lr"] = rate
        result = score(model, batch, margin=0.0)
        optimizer.zero_grad()
        result.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses += float(result.loss.detach())
        known += result.known
    return losses / len(batches), known


def learning_rate(recipe: Recipe, epoch: float) -> float:
    """Linear warm-up, then a cosine down to the final rate, which then stays."""
    if epoch < recipe.warmup_epochs:
        return recipe.learning_rate * (epoch + 0.1) / (recipe.warmup_epochs + 0.1)
    done = min((epoch - recipe.warmup_epochs) / recipe.decay_epochs, 1.0)
    share = (1 + math.cos(math.pi * done)) / 2
    return recipe.final_learning_rate + share * (recipe.learning_rate - recipe.final_learning_rate)


def to_bfloat16(model: Any) -> Any:
    """Copy the model with bfloat16 weights; its buffers (rotary frequencies) stay float32."""
    converted = copy.deepcopy(model)
    for parameter in converted.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)
    converted.config.dtype = torch.bfloat16
    return converted


def count_known(model: Any, batches: list[Batch], margin: float) -> int:
    """Count the pairs that greedy decoding gives back, every token by more than the margin."""
    with torch.inference_mode():
        return sum(score(model, batch, margin).known for batch in batches)


def say(message: str) -> None:
    """Show a line of progress."""
    print(f"pocket model: {message}", file=sys.stderr, flush=True)
