"""A command that ends with the process that started it, however that ends: `guard.py COMMAND...`, in a new session.

It stands between the two as a process of its own, since nothing else can act when the one above is killed. Its standard
input is a pipe from there, which ends with it. Run by its path, with nothing but the standard library.
"""

import os
import signal
import subprocess
import sys
import threading

GRACE = 20  # seconds between SIGTERM and SIGKILL


def main() -> None:
    """Run the command; when it, or standard input, or this process is to end, end all that it started."""
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))  # which the command was sent too
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(0, signal.SIGKILL))
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    threading.Thread(target=end_with_parent, daemon=True).start()
    command.wait()
    os.killpg(0, signal.SIGKILL)  # what it has left behind, and this process


def end_with_parent() -> None:
    """Wait until the other end of standard input is gone, then ask all to end."""
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGTERM)


if __name__ == "__main__":
    main()
