"""Owns the bound on a request's head, which uvicorn's quicker parser lacks."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# What others bound it to, several times over.
MAX_HEAD_BYTES = 256 * 1024
_REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"Connection: close\r\nContent-Length: 0\r\n\r\n"
)


class BoundedProtocol(HttpToolsProtocol):
    """Ends a connection whose request line and headers do not come to an end."""

    # Between two requests a connection waits for a head, too.
    _is_in_head = True
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Take in some bytes."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._is_in_head and self._head_bytes > MAX_HEAD_BYTES:
            if not self.transport.is_closing():
                self.transport.write(_REFUSAL)
            self.transport.close()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._is_in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is whole: what comes next is another head."""
        self._is_in_head = True
        self._head_bytes = 0
        super().on_message_complete()
