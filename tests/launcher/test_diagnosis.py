"""The cause of a failure, out of a whole log."""

from __future__ import annotations

import pytest

from launcher.diagnosis import Diagnosis
from launcher.engines.base import Symptom
from launcher.engines.vllm_errors import read_symptom

OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
CAPTURE = "Capturing CUDA graph shapes:  10%|#"
SAMPLER = "RuntimeError: CUDA out of memory occurred when warming up sampler with 256 dummy"
CONTEXT = "ValueError: the estimated maximum model length is 100."
FINAL = "Unknown quantization method: foo."


def found(*lines: str) -> Symptom | None:
    diagnosis = Diagnosis(read_symptom)
    diagnosis.feed(lines)
    return diagnosis.symptom


def test_a_log_without_errors_tells_nothing() -> None:
    assert found("INFO fine", CAPTURE) is None


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        ((OOM,), "memory"),
        ((CAPTURE, OOM), "graphs"),
        ((CAPTURE, OOM, SAMPLER), "memory"),
        ((OOM, CONTEXT), "context"),
        (("KeyError: 1", CONTEXT, "RuntimeError: x"), "context"),
        ((CONTEXT, FINAL), "final"),
        (("KeyError: 1",), "other"),
    ],
)
def test_what_is_told_most_exactly_is_the_cause(lines: tuple[str, ...], kind: str) -> None:
    symptom = found(*lines)
    assert symptom is not None
    assert symptom.kind == kind


def test_of_other_errors_the_last_is_the_cause_but_for_the_echo() -> None:
    """The API server's own error only says that its core has failed."""
    echo = "RuntimeError: Engine core initialization failed. See root cause above."
    symptom = found("ImportError: no flash attention, going on", "KeyError: 'x'", echo)
    assert symptom == Symptom("other", "KeyError: 'x'")


def test_of_one_kind_the_first_is_the_cause() -> None:
    symptom = found(CONTEXT, CONTEXT.replace("100", "900"))
    assert symptom is not None
    assert symptom.max_model_len == 80
