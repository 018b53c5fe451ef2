"""A program: asks `GET /` of a gateway every 5 ms, and tells how long each answer took.

Between a line "go" and a line "stop" on standard input; then it writes the seconds as a JSON list.
A process of its own, so that nothing but the gateway and the machine can delay an answer.
"""

from __future__ import annotations

import argparse
import http.client
import json
import select
import sys
import time

PAUSE_S = 0.005


def main() -> None:
    """Answer lines until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    port = parser.parse_args().port
    while sys.stdin.readline():  # "go"
        print(json.dumps(_probe(port)), flush=True)


def _probe(port: int) -> list[float]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.connect()
    seconds = []
    while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
        start = time.perf_counter()
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
        seconds.append(time.perf_counter() - start)
        if response.status != 200:
            raise SystemExit(f"GET / answered {response.status}")
    sys.stdin.readline()  # "stop"
    connection.close()
    return seconds


if __name__ == "__main__":
    main()
