"""The soak on the fake engine, for seconds; and its second part, on made-up samples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.chaos.soak import Soak, main
from tests.chaos.soak_load import Sample


def sample(at_s: float) -> Sample:
    return Sample(at_s, int(at_s), {"gateway memory": 70 + at_s, "gateway files": 60})


def test_slopes_are_told_of_the_second_half_after_the_restart() -> None:
    soak = Soak(1.0, [sample(float(at_s)) for at_s in range(61)])
    assert soak.second_part[0].at_s == 30
    soak.restart_done_s = 45.0
    assert soak.second_part[0].at_s == 45
    memory, files = soak.trends()
    assert memory.is_growing
    assert memory.per_hour == pytest.approx(3600)
    assert not files.is_growing


def test_no_samples_give_no_slopes() -> None:
    assert Soak(1.0).trends() == []


@pytest.mark.process
def test_a_short_soak_loses_nothing_and_tells_what_grew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "soak.json"
    code = main(["0.15", "--fake", "--json", str(file)])
    out = capsys.readouterr().out
    # Seconds are too short for a verdict: connections still come and go after the restart, and a
    # slow machine takes too few samples.
    assert code == ("GROWS" in out or "too short a time" in out)
    assert "restarting the engine" in out
    assert " 0 lost, 0 out of order, 0 late" in out
    document = json.loads(file.read_text())
    names = [trend["measure"]["name"] for trend in document["trends"]]
    assert names[:1] == ([] if "too short a time" in out else ["gateway memory"])
    assert document["samples"][-1]["requests"] > 30
