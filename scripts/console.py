"""Measures the console of a server with many users and revocations.

    scripts/console.py BINARY [--minutes N] [--users N] [--revocations N]

Starts BINARY on a store in a temporary folder with that many users and revocations in force. Then prints, for pages in Chromium, the first
contentful paint, and for ten consoles that stay open for N minutes (60 by default), the processor time that they cost the server, and its resident
memory once a minute. The exit status is 1 if a median of the first paints is above 300 ms, if the consoles cost 1 % of a core or more, or
if the memory grows, judged as in `scripts/memory.py`.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from memory import Api, growth, resident

BROWSER = Path(__file__).resolve().parent.parent / "tests/browser/open-consoles.mjs"
PASSWORD = "correct horse battery staple"
ADMIN = "ana"
MAX_PAINT_MS = 300
MAX_CORE = 0.01
PER_REQUEST = 500


def fill(run, folder, users):
    """Adds an administrator and users, all with the same password."""
    run("user", "add", "--admin", "--password-stdin", ADMIN, input=PASSWORD)
    [exported] = run("user", "export", "--with-password-hashes").splitlines()
    password_hash = json.loads(exported)["password_hash"]
    file = Path(folder, "users.jsonl")
    with file.open("w") as lines:
        for number in range(users):
            lines.write(json.dumps({"username": f"user-{number:06}", "password_hash": password_hash}) + "\n")
    run("user", "import", str(file))


def revoke(api, revocations):
    status, tokens = api.call("POST", "/login", {"username": ADMIN, "password": PASSWORD})
    assert status == 200, status
    expires_at = int(time.time()) + 86_400
    for start in range(0, revocations, PER_REQUEST):
        numbers = range(start, min(start + PER_REQUEST, revocations))
        body = {"revocations": [{"token_id": f"token-{number}", "expires_at": expires_at} for number in numbers]}
        status, answer = api.call("POST", "/revocations", body, tokens["access_token"])
        assert status == 200, answer


def processor(pid):
    """Returns the processor time of a process, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rest(pid, seconds):
    """Returns the share of a core that a process uses in this time."""
    before, started = processor(pid), time.monotonic()
    time.sleep(seconds)
    return (processor(pid) - before) / (time.monotonic() - started)


def measure(server, url, minutes):
    """Returns whether everything is within its limit."""
    idle = rest(server.pid, 60)
    browser = subprocess.Popen(
        ["node", BROWSER, url, ADMIN, PASSWORD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    is_good = True
    try:
        for line in browser.stdout:
            said = json.loads(line)
            if "consoles" in said:
                break
            print(
                "{path:50} first byte {first_byte:6.0f} ms, first paint {median:6.0f} ms, worst {worst:6.0f} ms".format(
                    **said
                ),
                flush=True,
            )
            is_good &= said["median"] <= MAX_PAINT_MS
        else:
            raise RuntimeError("the browser has ended")
        samples, before, started = [], processor(server.pid), time.monotonic()
        while len(samples) < minutes:
            time.sleep(max(0.0, started + 60 * (len(samples) + 1) - time.monotonic()))
            samples.append(resident(server.pid))
            print(f"{len(samples):4} min {samples[-1]:8} KiB", flush=True)
        busy = (processor(server.pid) - before) / (time.monotonic() - started)
        browser.stdin.close()
        renewals = json.loads(browser.stdout.readline())["renewals"]
    finally:
        browser.kill()
        browser.wait()
    cost = busy - idle
    print(f"idle {idle:.2%} of a core; {said['consoles']} consoles cost {cost:.2%} more, for {renewals} renewals")
    # Each renews itself every two seconds.
    assert renewals > said["consoles"] * minutes * 60 / 2 * 0.9, "the consoles did not stay open"
    return is_good and cost < MAX_CORE and growth(samples) <= 1.05


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--revocations", type=int, default=1_000_000)
    options = parser.parse_args()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ADIEU_")}
    environment["ADIEU_LOG_LEVEL"] = "warn"
    with tempfile.TemporaryDirectory() as folder:
        data = ["--data", f"{folder}/data"]

        def run(*arguments, **more):
            return subprocess.run(
                [options.binary, *arguments, *data],
                env=environment,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                **more,
            ).stdout

        fill(run, folder, options.users)
        command = [options.binary, "serve", "--listen", "127.0.0.1:0", *data]
        server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            address = re.search(r"http://(\S+)", server.stdout.readline())[1]
            revoke(Api(address), options.revocations)
            print(
                f"{options.users} users, {options.revocations} revocations in force, {resident(server.pid)} KiB",
                flush=True,
            )
            return 0 if measure(server, f"http://{address}", options.minutes) else 1
        finally:
            server.terminate()
            server.wait()


sys.exit(main())
