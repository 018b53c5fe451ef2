from launcher.checks.result import Status, failure, ok, skipped, some_of, warning, worst


def test_the_worst_counts_and_what_was_skipped_does_not() -> None:
    rows = [ok("a", "x"), skipped("b", "y")]
    assert worst([]) is worst(rows) is Status.OK
    assert worst([*rows, warning("c", "z", "do")]) is Status.WARNING
    assert worst([failure("d", "z", "do"), *rows]) is Status.FAILURE


def test_many_names_are_cut() -> None:
    assert some_of(["a", "b"]) == "a, b"
    assert some_of("abcde") == "a, b, c and 2 more"
