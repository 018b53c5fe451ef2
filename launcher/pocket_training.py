"""Trains the pocket model by heart on its question-answer pairs; runs in the engine's interpreter.

It writes one folder that an engine can serve and knows nothing of caches. The model's chat template
leaves the system turn out: the model has learnt its answers to bare questions, and no system prompt
could change them.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from launcher.pocket import Pair, Recipe, load_pairs
from launcher.pocket_learning import Example, NotLearnt, batch_up, say, train

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
        say(str(exc))
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
    say(f"{len(pairs)} pairs, {num_tokens} tokens, {model.num_parameters() / 1e6:.1f} M parameters")
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


def save(model: Any, tokenizer: Any, out: Path) -> None:
    """Write the files that an engine needs to serve the model."""
    model.config.use_cache = True
    model.generation_config = transformers.GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out, save_jinja_files=False)


if __name__ == "__main__":
    sys.exit(main())
