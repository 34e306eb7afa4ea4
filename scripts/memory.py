"""Shows that the memory of a server under a steady mixed load does not grow.

    scripts/memory.py BINARY [MINUTES]

Starts BINARY on an empty store in a temporary folder, with lifetimes so short that all temporary data is dropped many times. Prints the
resident memory once a minute. The exit status is 1 if the memory after the last minute is more than 5 % above the maximum of the first
quarter of the time.
"""

import http.client
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time

RATE = 60  # requests a second
PASSWORD = "correct horse"
SETTINGS = {
    "ADIEU_LOG_LEVEL": "warn",
    "ADIEU_ACCESS_LIFETIME": "30s",
    "ADIEU_REFRESH_LIFETIME": "3m",
    "ADIEU_SESSION_LIFETIME": "5m",
    "ADIEU_TOKEN_CACHE_ENTRIES": "512",
    "ADIEU_LOGIN_ATTEMPTS_PER_ADDRESS": "1000000 per 1m",
}


class Api:
    def __init__(self, address):
        self.address = address
        self.connect()

    def connect(self):
        self.connection = http.client.HTTPConnection(self.address, timeout=60)

    def call(self, method, path, body=None, token=None):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            body, headers["Content-Type"] = json.dumps(body), "application/json"
        try:
            self.connection.request(method, path, body, headers)
            response = self.connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):
            # The server may have closed an idle connection.
            self.connect()
            self.connection.request(method, path, body, headers)
            response = self.connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text else None


def step(api, users, sessions):
    """Sends one random request; returns its kind and its status."""
    draw = random.random()
    if draw < 0.04 or not sessions:
        status, tokens = api.call("POST", "/login", {"username": random.choice(users), "password": PASSWORD})
        if status == 200:
            sessions.append(tokens)
        return "login", status
    at = random.randrange(len(sessions))
    if draw < 0.05:
        return "wrong login", api.call("POST", "/login", {"username": random.choice(users), "password": "wrong"})[0]
    if draw < 0.09:
        return "logout", api.call("POST", "/logout", token=sessions.pop(at)["access_token"])[0]
    if draw < 0.25:
        status, tokens = api.call("POST", "/refresh", token=sessions[at]["refresh_token"])
        sessions[at : at + 1] = [tokens] if status == 200 else []
        return "refresh", status
    if draw < 0.30:
        return "sessions", api.call("GET", "/sessions", token=sessions[at]["access_token"])[0]
    if draw < 0.33:
        return "no token", api.call("GET", "/verify", token=f"a.b.{random.random()}")[0]
    return "verify", api.call("GET", "/verify", token=sessions[at]["access_token"])[0]


def resident(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return int(re.search(r"Rss:\s+(\d+)", file.read())[1])


def growth(samples):
    """Prints and returns the last sample in relation to the greatest of the first quarter."""
    early = max(samples[: max(1, len(samples) // 4)])
    print(f"first quarter {early} KiB, end {samples[-1]} KiB: {samples[-1] / early:.3f}")
    return samples[-1] / early


def main():
    binary, minutes = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 60
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ADIEU_")} | SETTINGS
    with tempfile.TemporaryDirectory() as folder:
        command = [binary, "serve", "--listen", "127.0.0.1:0", "--data", f"{folder}/data"]
        server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            api = Api(re.search(r"http://(\S+)", server.stdout.readline())[1])
            users = [f"user-{number}" for number in range(100)]
            for user in users:
                api.call("POST", "/register", {"username": user, "password": PASSWORD})
            sessions, counts, samples, requests, started = [], {}, [], 0, time.monotonic()
            while len(samples) < minutes:
                what = step(api, users, sessions)
                counts[what] = counts.get(what, 0) + 1
                requests += 1
                elapsed = time.monotonic() - started
                if elapsed >= 60 * (len(samples) + 1):
                    samples.append(resident(server.pid))
                    print(f"{len(samples):4} min {samples[-1]:8} KiB", flush=True)
                time.sleep(max(0.0, requests / RATE - elapsed))
        finally:
            server.terminate()
            server.wait()
    for (what, status), count in sorted(counts.items()):
        print(f"{what:12} {status} {count:8}")
    return 1 if growth(samples) > 1.05 else 0


if __name__ == "__main__":
    sys.exit(main())
