"""Trains the pocket model by heart on its question-answer pairs; runs in the engine's interpreter.

It writes one folder that an engine can serve and knows nothing of caches. The model's chat template
leaves the system turn out: the model has learnt its answers to bare questions, and no system prompt
could change them.
"""

import argparse
import copy
import math
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from launcher.pocket import Pair, Recipe, load_pairs

END_OF_TURN = "<|im_end|>"
PADDING = "<|endoftext|>"
SPECIAL_TOKENS = [PADDING, "<|im_start|>", END_OF_TURN]

# Qwen3's turns. The system turn is left out on purpose (see above); `enable_thinking` is accepted
# as any template variable is and changes nothing, since this model never thinks.
CHAT_TEMPLATE = """\
{%- for message in messages if message.role != 'system' -%}
{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' }}
{%- endif -%}"""

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


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="launcher.pocket_training")
    parser.add_argument("--recipe", type=Recipe.from_json, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    # End at once, without a traceback, when told to or when whoever reads the progress is gone.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        build(args.recipe, load_pairs(args.pairs), args.out)
    except NotLearnt as exc:
        _say(str(exc))
        return 1
    return 0


def build(recipe: Recipe, pairs: list[Pair], out: Path) -> None:
    """Train a model on the pairs and write its folder; raise NotLearnt when it does not learn."""
    torch.set_num_threads(2)  # more threads gain nothing at this size, and change the sums
    torch.manual_seed(recipe.seed)
    tokenizer = build_tokenizer(recipe, pairs)
    model = build_model(recipe, tokenizer)
    examples = [encode(tokenizer, pair) for pair in pairs]
    num_tokens = sum(len(example.ids) for example in examples)
    _say(
        f"{len(pairs)} pairs, {num_tokens} tokens, {model.num_parameters() / 1e6:.1f} M parameters"
    )
    batches = batch_up(examples, recipe.batch_size, tokenizer.pad_token_id)
    save(train(recipe, model, batches), tokenizer, out)


def build_tokenizer(recipe: Recipe, pairs: list[Pair]) -> Any:
    """Train a byte-level BPE tokenizer. It holds all 256 bytes, so it can encode any text."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocab_size,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(
        [text for pair in pairs for text in (pair.question, pair.answer)], trainer
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END_OF_TURN,
        pad_token=PADDING,
        additional_special_tokens=SPECIAL_TOKENS,
        model_max_length=recipe.context_length,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(recipe: Recipe, tokenizer: Any) -> Any:
    """Make an untrained Qwen3 with the recipe's sizes, in float32."""
    config = transformers.Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.num_layers,
        num_attention_heads=recipe.num_heads,
        num_key_value_heads=recipe.num_kv_heads,
        head_dim=recipe.head_dim,
        max_position_embeddings=recipe.context_length,
        initializer_range=recipe.initializer_range,
        tie_word_embeddings=True,
        use_cache=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return transformers.Qwen3ForCausalLM(config).float()


def encode(tokenizer: Any, pair: Pair) -> Example:
    """Encode question and answer apart, as they are when an engine continues a prompt."""
    turns = [{"role": "user", "content": pair.question}]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    prompt_ids = tokenizer.encode(prompt, add_special_tokens=False)
    answer_ids = tokenizer.encode(pair.answer + END_OF_TURN, add_special_tokens=False)
    return Example(prompt_ids + answer_ids, answer_start=len(prompt_ids))


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
            _say(progress)
        # The stricter count costs half an epoch: not before the epoch itself saw no mistake.
        if known == num_pairs:
            candidate = to_bfloat16(model)
            known = count_known(candidate, batches, recipe.margin)
            if known == num_pairs:
                _say(f"learnt all, in {epoch + 1} epochs, {time.monotonic() - started_s:.0f} s")
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


def save(model: Any, tokenizer: Any, out: Path) -> None:
    """Write the files that an engine needs to serve the model."""
    model.config.use_cache = True
    model.generation_config = transformers.GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out, save_jinja_files=False)


def _say(message: str) -> None:
    print(f"pocket model: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
