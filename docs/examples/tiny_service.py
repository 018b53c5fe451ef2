"""The smallest service that can be judged: two routes, the standard library, no model."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def answer(question: str) -> str:
    """Where the model would be."""
    return f"{question} 是 GPU 编程中的一个概念。"


class Service(BaseHTTPRequestHandler):
    """The two routes."""

    def do_GET(self) -> None:
        """Say on any path, `/` among them, that all questions may come in one POST."""
        self._reply({"status": "batch"})

    def do_POST(self) -> None:
        """Answer a prompt by a string, a list of prompts by a list in the same order."""
        prompt = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["prompt"]
        is_batch = isinstance(prompt, list)
        self._reply({"response": [answer(q) for q in prompt] if is_batch else answer(prompt)})

    def _reply(self, value: dict[str, object]) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", 9000), Service).serve_forever()
