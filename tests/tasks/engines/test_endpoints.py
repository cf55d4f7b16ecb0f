import subprocess
import sys

# a process of its own, where nobody has asked anything yet; a loop takes a while to make, as it may on a busy machine
ASKED_AT_ONCE = """
import asyncio, threading, time
from concurrent.futures import ThreadPoolExecutor
from tasks.engines.endpoints import all_answers

made = asyncio.new_event_loop

def slowly():
    time.sleep(0.2)
    return made()

asyncio.new_event_loop = slowly

async def loop():
    return id(asyncio.get_running_loop())

together = threading.Barrier(4)

def ask(number):
    together.wait()
    return all_answers([loop()])

with ThreadPoolExecutor(4) as pool:
    print(len({found for (found,) in pool.map(ask, range(4))}))
"""


def test_workers_that_ask_first_at_the_same_time_share_one_loop() -> None:
    command = [sys.executable, "-c", ASKED_AT_ONCE]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.stdout == "1\n"
