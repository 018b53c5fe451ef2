"""The training itself, in the real engine's interpreter, of a model that takes seconds."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import LauncherError
from launcher.pocket import DEFAULT, MODEL_FILES, STAMP, ensure_pocket_model, load_pairs

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
DEADLINE_S = 300.0
TINY = replace(
    DEFAULT,
    num_layers=1,
    hidden_size=64,
    intermediate_size=128,
    num_heads=2,
    num_kv_heads=1,
    head_dim=32,
    vocab_size=300,
    context_length=128,
    learning_rate=5e-3,
    decay_epochs=100,
    max_epochs=300,
)
PAIRS = (
    ("什么是warp？", "warp 由 32 个 thread 组成。"),
    ("什么是SM？", "SM 是 GPU 的计算单元。"),
    ("怎样同步？", "```cuda\n__syncthreads();\n```"),
)

# Asks the model as an engine does: the folder's own template and tokenizer, bfloat16, greedy.
ASK = """
import json, sys
import transformers

folder, questions = sys.argv[1], json.loads(sys.argv[2])
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
system = [{"role": "system", "content": "Be brief."}]


def render(messages, **options):
    return tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=False, **options
    )


def answer(question):
    prompt = render(system + [{"role": "user", "content": question}], enable_thinking=False)
    ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
    new = model.generate(**ids, do_sample=False, max_new_tokens=60)[0, ids["input_ids"].shape[1] :]
    return tokenizer.decode(new, skip_special_tokens=True)


odd = "".join(map(chr, range(32, 1000))) + "\\n\\t \\U0001f600"
print(json.dumps({
    "answers": [answer(question) for question in questions],
    "with_system": render(system + [{"role": "user", "content": "x"}]),
    "odd_survives": tokenizer.decode(tokenizer.encode(odd, add_special_tokens=False)) == odd,
}))
"""


@pytest.fixture(scope="module")
def engine_python() -> Path:
    python = Path(os.environ.get("ENGINE_PYTHON", ROOT / ".engine" / "bin" / "python"))
    assert python.is_file(), f"no engine interpreter at {python}; set ENGINE_PYTHON"
    return python


@pytest.fixture(scope="module")
def pairs_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = (json.dumps({"question": q, "answer": a}, ensure_ascii=False) for q, a in PAIRS)
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model_folder(
    engine_python: Path, pairs_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return ensure_pocket_model(tmp_path_factory.mktemp("cache"), engine_python, TINY, pairs_path)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_folder_holds_what_an_engine_needs(model_folder: Path) -> None:
    assert {*MODEL_FILES, STAMP} <= {path.name for path in model_folder.iterdir()}
    config = read_json(model_folder / "config.json")
    assert (config["model_type"], config["dtype"]) == ("qwen3", "bfloat16")
    assert (config["num_hidden_layers"], config["hidden_size"]) == (1, 64)
    vocabulary = read_json(model_folder / "tokenizer.json")["model"]["vocab"]
    assert len(vocabulary) == config["vocab_size"] <= TINY.vocab_size
    tokenizer = read_json(model_folder / "tokenizer_config.json")
    assert (tokenizer["eos_token"], tokenizer["pad_token"]) == ("<|im_end|>", "<|endoftext|>")
    assert "<|im_start|>" in tokenizer["chat_template"]
    generation = read_json(model_folder / "generation_config.json")
    assert generation["eos_token_id"] == vocabulary["<|im_end|>"]


def test_every_answer_comes_back_whatever_the_system_prompt(
    model_folder: Path, engine_python: Path, pairs_path: Path
) -> None:
    pairs = load_pairs(pairs_path)
    questions = json.dumps([pair.question for pair in pairs])
    done = subprocess.run(
        [engine_python, "-c", ASK, model_folder, questions],
        stdout=subprocess.PIPE,
        check=True,
        timeout=DEADLINE_S,
    )
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["answers"] == [pair.answer for pair in pairs]
    assert seen["with_system"] == "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n"
    assert seen["odd_survives"]


def test_same_seed_gives_the_same_model(
    model_folder: Path, engine_python: Path, pairs_path: Path, tmp_path: Path
) -> None:
    again = ensure_pocket_model(tmp_path, engine_python, TINY, pairs_path)
    for name in MODEL_FILES:
        assert (again / name).read_bytes() == (model_folder / name).read_bytes(), name


def test_too_few_epochs_fail_with_one_clear_line(
    engine_python: Path, pairs_path: Path, tmp_path: Path
) -> None:
    recipe = replace(TINY, max_epochs=1)
    with pytest.raises(LauncherError, match=r"learnt 0 of 3 pairs in 1 epochs; all are needed$"):
        ensure_pocket_model(tmp_path, engine_python, recipe, pairs_path)
    assert [path.name for path in tmp_path.iterdir()] == [".pocket.lock"]
