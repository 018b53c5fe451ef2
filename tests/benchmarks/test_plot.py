"""The JSON document that a benchmark leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import plot


def test_document_is_written_with_where_it_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.json"

    plot.write_json(path, {"answer": "线程束", "values": [1.5]})

    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["answer"] == "线程束"
    assert document["values"] == [1.5]
    assert document["machine"] == {**plot.machine(), "when": document["machine"]["when"]}
    assert document["command"].startswith("scripts/bench ")


def test_machine_is_told_with_its_cores() -> None:
    machine = plot.machine()

    assert isinstance(machine["cores"], int)
    assert machine["cores"] >= 1
    assert machine["processor"]
