import pytest

from launcher.checks import device_variables
from launcher.checks.result import Status


@pytest.mark.parametrize("value", ["", "  "])
@pytest.mark.parametrize("name", ["CUDA_VISIBLE_DEVICES", "MTHREADS_VISIBLE_DEVICES"])
def test_a_blank_variable_is_a_warning(name: str, value: str) -> None:
    row = device_variables.check({name: value})
    assert row.status is Status.WARNING
    assert f"{name} here" in row.observed


def test_what_is_set_is_told() -> None:
    row = device_variables.check({"CUDA_VISIBLE_DEVICES": "0,1"})
    assert (row.status, row.observed) == (Status.OK, "CUDA_VISIBLE_DEVICES=0,1")
    assert device_variables.check({}).observed == "none is set"


@pytest.mark.parametrize(
    "line",
    [
        "ENV CUDA_VISIBLE_DEVICES=",
        'ENV CUDA_VISIBLE_DEVICES=""',
        "ENV A=1 CUDA_VISIBLE_DEVICES= B=2",
        "ENV CUDA_VISIBLE_DEVICES ''",
        "ENV A=1 \\\n    CUDA_VISIBLE_DEVICES= \\\n    B=2",
    ],
)
def test_a_blank_variable_in_the_dockerfile_is_a_warning(line: str) -> None:
    row = device_variables.check({}, f"FROM base\n{line}\nCMD x\n")
    assert row.status is Status.WARNING
    assert "in the Dockerfile" in row.observed


@pytest.mark.parametrize(
    "line",
    [
        "ENV CUDA_VISIBLE_DEVICES=0",
        "# a blank CUDA_VISIBLE_DEVICES= hides cards",
        "RUN unset CUDA_VISIBLE_DEVICES",
        'RUN echo "${CUDA_VISIBLE_DEVICES:-none}"',
    ],
)
def test_other_mentions_in_the_dockerfile_are_not(line: str) -> None:
    assert device_variables.check({}, f"FROM base\n{line}\nCMD x\n").status is Status.OK
