import pytest

from launcher import model_sizes as sizes


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("8GB", 8 * 10**9),
        ("8 gb", 8 * 10**9),
        ("8G", 8 * 10**9),
        ("14GiB", 14 * 2**30),
        ("1.5kB", 1500),
        ("500MB", 500 * 10**6),
        ("1TiB", 2**40),
        ("123", 123),
        ("7B", 7),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, n_bytes: int) -> None:
    assert sizes.parse_size(text) == n_bytes


@pytest.mark.parametrize("text", ["", "GB", "8XB", "-1GB", "8 GB please", "0", "0GB", "nan"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no size"):
        sizes.parse_size(text)


@pytest.mark.parametrize("text", ["100", "100M", "100 Mbit/s", "100mbps", "100.0"])
def test_bandwidth_is_in_mbit_s(text: str) -> None:
    assert sizes.parse_bandwidth(text) == 100


@pytest.mark.parametrize("text", ["", "fast", "0", "10 GB/s"])
def test_what_is_no_bandwidth_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no bandwidth"):
        sizes.parse_bandwidth(text)


def test_sizes_are_shown_in_the_unit_that_fits() -> None:
    shown = [sizes.decimal(size) for size in (5, 1500, 3_000_000, 8 * 10**9)]
    assert shown == ["5 bytes", "1.5 kB", "3.0 MB", "8.0 GB"]
    assert [sizes.binary(size) for size in (2048, 3 * 2**20, 2**31)] == [
        "2.0 KiB",
        "3.0 MiB",
        "2.0 GiB",
    ]
    assert sizes.minutes(90) == "90 s (1.5 min)"
