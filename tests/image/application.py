"""Stands for the attendance service in its pod, and for the user and business service, of which it has no network.

    application.py serve PORT       the user and business service on loopback, until SIGTERM
    application.py ask URL [BODY]   one call, with what came back as JSON on standard output

It runs inside a container: the standard library alone.
"""

import http.server
import json
import signal
import sys
import time
import urllib.error
import urllib.request

_BULKS = {
    "/main/api/v3/users/bulk": ("userIds", "users"),
    "/main/api/v3/businesses/bulk": ("businessIds", "businesses"),
}
_PATIENCE = 15.0
"""Seconds to wait for a listener; Kubernetes would not start the application before its sidecar is up."""


class _Services(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    calls = 0

    def do_POST(self) -> None:
        ids, items = _BULKS[self.path]
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))[ids]
        type(self).calls += 1
        self._answer(
            {items: [{"id": one, "name": f"The name of {one}"} for one in asked], "count": len(asked)}
        )

    def do_GET(self) -> None:
        self._answer({"calls": self.calls})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the method it overrides
        pass

    def _answer(self, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _serve(port: int) -> None:
    # The first process of a container has no default for it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    http.server.ThreadingHTTPServer(("127.0.0.1", port), _Services).serve_forever()


def _ask(url: str, body: str | None = None) -> None:
    data = None if body is None else body.encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
                document = json.load(answer)
                json.dump({"cache": answer.headers.get("Cache-Status"), "body": document}, sys.stdout)
                return
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError) or time.monotonic() > until:
                raise
            time.sleep(0.05)


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "serve":
        _serve(int(arguments[0]))
    else:
        _ask(*arguments)
