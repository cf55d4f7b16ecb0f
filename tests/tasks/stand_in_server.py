"""Poses as the Python of an environment that holds vLLM: its arguments are vLLM's, its protocol is a small part of it.

The model decides what it is like: `breaks` gives up as it starts, `dawdles` never answers, others are served. As vLLM
does, it works in a process beside, here one that does not end when it is asked to.
"""

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

WORKER = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def write_stand_in(folder: Path) -> Path:
    """Write an interpreter that is this stand-in, and return it."""
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} "$@"\n')
    python.chmod(0o755)
    return python


def serve(model: str, host: str, port: int, context: int) -> None:
    """Serve until SIGTERM."""
    worker = subprocess.Popen([sys.executable, "-c", WORKER])

    class Protocol(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = {"id": model, "max_model_len": context, "processes": [os.getpid(), worker.pid]}
            self.answer({"data": [known]} if self.path == "/v1/models" else {})

        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["content-length"])))
            kinds = [part["type"] for message in question["messages"] for part in message["content"]]
            content = json.dumps({"pictures": kinds.count("image_url")})
            self.answer({"choices": [{"message": {"content": content}, "finish_reason": "stop"}]})

        def answer(self, body: object) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("serving", flush=True)
    ThreadingHTTPServer((host, port), Protocol).serve_forever()


def main(arguments: list[str]) -> None:
    """Do as vLLM does when it is started with these arguments."""
    if arguments[:2] == ["-I", "-c"]:  # does it hold vLLM?
        sys.exit(0)
    options = dict(pairwise(arguments))
    model = options["--served-model-name"]
    if model == "breaks":
        print("loading weights", flush=True)
        raise RuntimeError("the card is too small")
    if model == "dawdles":
        time.sleep(600)
    serve(model, options["--host"], int(options["--port"]), int(options["--max-model-len"]))


if __name__ == "__main__":
    main(sys.argv[1:])
