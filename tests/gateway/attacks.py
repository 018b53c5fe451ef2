"""Owns the attacks that are written down, by name: bodies, requests, and bytes that are neither.

Pure data: the bytes, and the status that they must get.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.gateway.hostile import GOOD_BODY, MAX_BODY_BYTES, MAX_PROMPTS, head, post

DEEP = 100_000
MANY_DIGITS = 10_000
TEXT = '{"prompt": "什么是warp？"}'

# Whole, well-framed requests to /predict with these bodies; the connection stays usable.
BODIES: dict[str, tuple[bytes, int]] = {
    "empty": (b"", 400),
    "blank": (b" \r\n\t", 400),
    "nul": (b"\0", 400),
    "nuls": (b"\0" * 4096, 400),
    "form": (b"prompt=what", 400),
    "xml": (b'<?xml version="1.0"?><prompt/>', 400),
    "cut": (GOOD_BODY[:-3], 400),
    "cut inside a character": (TEXT.encode()[:14], 400),
    "two documents": (GOOD_BODY * 2, 400),
    "nul behind": (GOOD_BODY + b"\0", 400),
    "list": (b'["a"]', 400),
    "number": (b"1", 400),
    "null": (b"null", 400),
    "deep lists": (b"[" * DEEP, 400),
    "deep closed lists": (b"[" * DEEP + b"]" * DEEP, 400),
    "deep objects": (b'{"a":' * DEEP, 400),
    "deep beside the prompt": (b'{"prompt": "a", "x": ' + b"[" * DEEP + b"]" * DEEP + b"}", 400),
    **{
        f"{depth} deep in {field}": (
            f'{{"prompt": "a", "{field}": {"[" * depth}{"]" * depth}}}'.encode(),
            400,
        )
        for field in ("prompt", "stop", "temperature")
        for depth in (30, 200, 300, 450, 600, 900, 5_000)
    },
    "nul in a prompt": (rb'{"prompt": "a\u0000b"}', 200),
    "raw nul in a prompt": (b'{"prompt": "a\0b"}', 400),
    "raw line break in a prompt": (b'{"prompt": "a\nb"}', 400),
    "lone surrogate, escaped": (rb'{"prompt": "a\ud800b"}', 200),
    "lone surrogate, raw": (b'{"prompt": "a\xed\xa0\x80b"}', 200),
    "lone surrogate as a key": (rb'{"\udfff": 1, "prompt": "a"}', 200),
    "surrogates swapped": (rb'{"prompt": "\ude00\ud83d"}', 200),
    "broken escape": (rb'{"prompt": "\u12"}', 400),
    "invalid UTF-8": (b'{"prompt": "a\xff\xfe\xc0\x80b"}', 200),
    "overlong UTF-8": (b'{"prompt": "\xc0\xaf\xf8\x88\x80\x80\x80"}', 200),
    "invalid UTF-8 as a key": (b'{"\xff": 1, "prompt": "a"}', 200),
    "byte order mark": (TEXT.encode("utf-8-sig"), 200),
    "byte order mark alone": (b"\xef\xbb\xbf", 400),
    "UTF-16": (TEXT.encode("utf-16"), 200),
    "UTF-16 big end first": (TEXT.encode("utf-16-be"), 200),
    "UTF-16, one byte short": (TEXT.encode("utf-16")[:-1], 400),
    "UTF-32": (TEXT.encode("utf-32"), 200),
    "UTF-32, one byte short": (TEXT.encode("utf-32-be")[:-1], 400),
    "GBK": (TEXT.encode("gbk"), 200),
    "compressed": (bytes.fromhex("1f8b080000000000000303000000000000000000"), 400),
    "huge integer": (b'{"prompt": "a", "top_k": ' + b"9" * MANY_DIGITS + b"}", 400),
    "huge integer as prompt": (b'{"prompt": ' + b"9" * MANY_DIGITS + b"}", 400),
    "huge integer alone": (b"-" + b"9" * MANY_DIGITS, 400),
    "long fraction": (b'{"prompt": "a", "temperature": 0.' + b"1" * MANY_DIGITS + b"}", 200),
    "huge exponent": (b'{"prompt": "a", "temperature": 1e' + b"9" * MANY_DIGITS + b"}", 400),
    "NaN": (b'{"prompt": "a", "temperature": NaN}', 400),
    "Infinity": (b'{"prompt": "a", "top_p": Infinity}', 400),
    "1e999": (b'{"prompt": "a", "frequency_penalty": -1e999}', 400),
    "1e999 where nobody looks": (b'{"prompt": "a", "x": [1e999, NaN]}', 200),
    "leading zero": (b'{"prompt": "a", "top_k": 010}', 400),
    "duplicate prompt": (b'{"prompt": 1, "prompt": "b"}', 200),
    "duplicate prompt, the last one wrong": (b'{"prompt": "b", "prompt": 1}', 400),
    "huge key": (b'{"prompt": "a", "' + b"k" * 500_000 + b'": 1}', 200),
    "many keys": (
        b'{"prompt": "a"' + b"".join(b', "k%d": 1' % n for n in range(20_000)) + b"}",
        200,
    ),
    "as many prompts as allowed": (b'{"prompt": [' + b'"",' * (MAX_PROMPTS - 1) + b'""]}', 200),
    "a prompt too many": (b'{"prompt": [' + b'"",' * MAX_PROMPTS + b'""]}', 413),
    "objects for prompts": (b'{"prompt": [' + b"{}," * 300_000 + b"{}]}", 413),
    "as long as allowed": (TEXT.encode().ljust(MAX_BODY_BYTES), 200),
    "a byte too long": (TEXT.encode().ljust(MAX_BODY_BYTES + 1), 413),
    "prototype": (b'{"__proto__": {"prompt": "a"}, "constructor": 1}', 400),
    "long wrong value": (b'{"prompt": "a", "stop": {"' + b"x" * 100_000 + b'": 1}}', 400),
    "long wrong string": (b'{"prompt": "a", "top_k": "' + b"x" * 100_000 + b'"}', 400),
}


@dataclass(frozen=True)
class Request:
    """Bytes of one or more requests, whose replies must have these statuses, in order."""

    data: bytes
    statuses: tuple[int, ...]


def _get(path: str, *headers: str) -> bytes:
    return head("GET", path, *headers)


_MANY = [f"X-Header-{n}: {n}" for n in range(500)]

# Requests that HTTP allows, strange as they are; the connection stays open, or says that it closes.
REQUESTS: dict[str, Request] = {
    "500 headers": Request(post(GOOD_BODY, *_MANY), (200,)),
    "a header of 60 KB": Request(post(GOOD_BODY, "X-Long: " + "x" * 60_000), (200,)),
    "header values beyond ASCII": Request(post(GOOD_BODY, "X-Odd: \xff\x80\xe9"), (200,)),
    "a header without a value": Request(post(GOOD_BODY, "X-Empty:"), (200,)),
    "two hosts": Request(_get("/livez", "Host: other"), (200,)),
    "a host that is none": Request(b"GET /nope HTTP/1.1\r\nHost: [\r\n\r\n", (404,)),
    "no host": Request(b"GET /livez HTTP/1.1\r\n\r\n", (200,)),
    "a request id too long": Request(post(GOOD_BODY, "X-Request-Id: " + "x" * 10_000), (200,)),
    "a request id of no letters": Request(post(GOOD_BODY, 'X-Request-Id: \xff" {}'), (200,)),
    "another content type": Request(post(GOOD_BODY, "Content-Type: image/png"), (200,)),
    "a content type that is none": Request(post(GOOD_BODY, "Content-Type: ;;=\xff"), (200,)),
    "a content encoding": Request(post(GOOD_BODY, "Content-Encoding: gzip"), (200,)),
    "100-continue": Request(post(GOOD_BODY, "Expect: 100-continue"), (100, 200)),
    "an unknown expectation": Request(post(GOOD_BODY, "Expect: the best"), (200,)),
    "a path of 60 KB": Request(_get("/" + "a" * 60_000), (404,)),
    "a query of 60 KB": Request(_get("/livez?" + "a" * 60_000), (200,)),
    "a path of escapes": Request(_get("/%00%ff%ed%a0%80%"), (404,)),
    "a path that climbs": Request(_get("/../../etc/passwd"), (404,)),
    "a path of slashes": Request(_get("//" * 1000), (404,)),
    "a whole URL": Request(_get("http://elsewhere.example/livez"), (200,)),
    "a wrong method": Request(head("PATCH", "/predict", "Content-Length: 2") + b"{}", (405,)),
    "an unusual method": Request(head("PROPFIND", "/predict"), (405,)),
    "a body where none belongs": Request(head("GET", "/", "Content-Length: 2") + b"{}", (200,)),
    "no body": Request(head("POST", "/predict"), (400,)),
    "chunks": Request(
        head("POST", "/predict", "Transfer-Encoding: chunked")
        + b"".join(b"1;x=y\r\n%c\r\n" % byte for byte in GOOD_BODY)
        + b"0\r\nX-Trailer: 1\r\n\r\n",
        (200,),
    ),
    "no chunk": Request(
        head("POST", "/predict", "Transfer-Encoding: chunked") + b"0\r\n\r\n", (400,)
    ),
    "20 pipelined questions": Request(_get("/livez") * 20, (200,) * 20),
    "pipelined batches": Request(post(GOOD_BODY) * 5, (200,) * 5),
    "pipelined mistakes": Request((post(b"{") + _get("/nope")) * 3, (400, 404) * 3),
    "an upgrade to HTTP/2": Request(
        _get("/livez", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA"),
        (200,),
    ),
}
CHUNKED = head("POST", "/predict", "Transfer-Encoding: chunked")
# Bytes that break HTTP: the server refuses them, at once, and closes.
BROKEN: dict[str, bytes] = {
    "no HTTP": b"hello, is anybody there?\r\n\r\n",
    "no HTTP, binary": bytes(range(256)) * 16,
    "nuls": b"\0" * 4096,
    "a TLS hello": bytes.fromhex(
        "16030100520100004e0303" + "5a" * 32 + "000004130113020100002100" + "2b" * 32
    ),
    "an SSH banner": b"SSH-2.0-OpenSSH_9.2\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a method that is none": head("G=T", "/"),
    "a method nobody knows": head("FETCH", "/"),
    "no path": b"GET  HTTP/1.1\r\n\r\n",
    "a path that is none": b"GET nope HTTP/1.1\r\n\r\n",
    "control characters in the path": b"GET /\x01\x02 HTTP/1.1\r\n\r\n",
    "HTTP 9.9": b"GET / HTTP/9.9\r\n\r\n",
    "another protocol": b"GET / HTTQ/1.1\r\n\r\n",
    "no version number": b"GET / HTTP/x\r\n\r\n",
    "a header name that is none": head("GET", "/", "a b: c"),
    "a nul in a header": head("GET", "/", "X-Nul: a\0b"),
    "a header without a colon": head("GET", "/", "nothing"),
    "a blank before the colon": head("GET", "/", "Host : a"),
    "a negative length": head("POST", "/predict", "Content-Length: -5"),
    "a length in words": head("POST", "/predict", "Content-Length: five"),
    "a length with a sign": head("POST", "/predict", "Content-Length: +5"),
    "a hexadecimal length": head("POST", "/predict", "Content-Length: 0x10"),
    "a length beyond 64 bits": head("POST", "/predict", "Content-Length: " + "9" * 30),
    "two lengths": head("POST", "/predict", "Content-Length: 5", "Content-Length: 6"),
    "length and chunks": head(
        "POST", "/predict", "Content-Length: 5", "Transfer-Encoding: chunked"
    ),
    "a coding over chunks": head("POST", "/predict", "Transfer-Encoding: chunked, gzip"),
    "a chunk size that is none": CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
    "a negative chunk": CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "a chunk beyond 64 bits": CHUNKED + b"F" * 20 + b"\r\n{}\r\n",
    "a chunk longer than it says": CHUNKED + b"1\r\n{}\r\n0\r\n\r\n",
    "a chunk without an end": CHUNKED + b"2\r\n{}0\r\n\r\n",
}
# Beginnings: the client says no more, closes its side, and gets no answer, for it has left.
CUT: dict[str, bytes] = {
    "nothing": b"",
    "line breaks": b"\r\n\r\n",
    "half a line": b"GET / HT",
    "half a header": head("GET", "/", "X-Long: " + "x" * 1000)[:-500],
    "a body cut short": post(GOOD_BODY)[:-5],
    "no body at all": head("POST", "/predict", "Content-Length: 100"),
    "a chunk cut short": CHUNKED + b"FF\r\n" + b"x" * 100,
    "chunks without an end": CHUNKED + b"2\r\n{}\r\n",
}
