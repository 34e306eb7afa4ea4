"""Checks the API against its OpenAPI document, with requests that schemathesis generates from it.

    scripts/api.py [--examples N] [--seed N] [ROLE …]

Starts $ADIEU_BIN on an empty store in a temporary folder, and runs all checks of schemathesis as each role: anonymous, user,
administrator and client. With the same seed the requests are the same. Exit status 1 if a check fails.

schemathesis also loads this file, to send the credentials of the role.
"""

import argparse
import base64
import http.client
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

ROLES = ["anonymous", "user", "administrator", "client"]
PASSWORD = "correct horse battery staple"
SETTINGS = {
    "ADIEU_LISTEN": "127.0.0.1:0",
    "ADIEU_LOG_LEVEL": "error",
    "ADIEU_ROTATION_GRACE": "14m",
    # Other tests check the limits.
    "ADIEU_LOGIN_ATTEMPTS_PER_ACCOUNT": "1000000 per 1s",
    "ADIEU_LOGIN_ATTEMPTS_PER_ADDRESS": "1000000 per 1s",
    "ADIEU_CLIENT_REVOCATION_QUOTA": "1000000 per 1s",
    "ADIEU_EVENT_QUOTA": "1000000 per 1s",
}


# Rules that an OpenAPI document cannot express and that the server enforces.
CHECKS = """
[auth]
auto-signup = false

[[operations]]
include-name = [
    "POST /login", # `cookies` without the setting `token_cookies`.
    "POST /password", # The current password is wrong.
    "POST /password/reset", # The token is not valid.
    "GET /admin/sessions", # `after` is not the `next` of an earlier page.
    "GET /revocations", # Parameters that need `follower`; a bound larger than the server's.
    "GET /aliases", # `after` is not the `next` of an earlier page.
    "POST /aliases", # The issuer is not trusted; the value is not of the format.
    "POST /aliases/remove", # Fields that belong together; the value is not of the format.
    "POST /revocations", # Fields that exclude each other; a token of another server; a time that is too late.
]
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "422"]

[[operations]]
include-name = ["POST /introspect", "POST /revoke"]
# Credentials both in the header and in the form.
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403"]

[[operations]]
include-name = ["POST /backchannel-logout", "POST /events", "POST /global-token-revocation"]
# No trusted issuer has signed the message.
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401"]

[[operations]]
include-name = "POST /webhooks/{name}"
# No webhook has this name.
checks.positive_data_acceptance.expected-statuses = ["404"]

[[operations]]
include-name = "GET /sessions/events"
# A stream that does not end.
enabled = false

[[operations]]
include-path = "/verify"
# It answers every method, also those that an OpenAPI document cannot contain.
checks.unsupported_method.enabled = false
"""


def call(method, path, body=None, token=None):
    connection = http.client.HTTPConnection(os.environ["API_ADDRESS"], timeout=60)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if body is not None:
        body, headers["Content-Type"] = json.dumps(body), "application/json"
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, json.loads(text) if text else None


class Credentials:
    """The credentials of a role. Requests log it out, change its password and delete it, so they are checked before each use."""

    def __init__(self):
        self.tokens = None
        self.count = 0
        self.lock = threading.Lock()

    def get(self, case, context):
        with self.lock:
            return self.of(os.environ["API_ROLE"], context)

    def of(self, role, context):
        if role == "client":
            return os.environ["API_CLIENT"]
        if self.tokens is None or call("GET", "/verify", token=self.tokens["access_token"])[0] != 204:
            self.tokens = self.log_in(role)
        kind = "refresh_token" if context.operation.path == "/refresh" else "access_token"
        return f"Bearer {self.tokens[kind]}"

    def log_in(self, role):
        if role == "administrator":
            credentials = {"username": "boss", "password": PASSWORD}
        else:
            self.count += 1
            credentials = {"username": f"user {os.getpid()} {self.count}", "password": PASSWORD}
            status, _ = call("POST", "/register", credentials)
            assert status == 201, status
        status, tokens = call("POST", "/login", credentials)
        if status in {401, 403} and role == "administrator":
            # A request has changed its password, required another, or disabled it.
            adieu("user", "passwd", "boss", "--password-stdin", stdin=PASSWORD)
            adieu("user", "enable", "boss")
            status, tokens = call("POST", "/login", credentials)
        assert status == 200, status
        return tokens

    def set(self, case, data, context):
        case.headers = case.headers or {}
        case.headers["Authorization"] = data


def adieu(*arguments, stdin=None):
    command = [os.environ["API_BIN"], *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout


def run(role, address, examples, seed):
    base = f"http://{address}"
    command = [
        str(pathlib.Path(sys.executable).with_name("schemathesis")), "run", f"{base}/openapi.json", "--url", base,
        "--checks", "all", "--max-examples", str(examples), "--seed", str(seed), "--generation-database", "none",
        "--no-color", "--continue-on-failure", "--warnings", "off", "--workers", "1",
    ]
    environment = {**os.environ, "API_ROLE": role, "SCHEMATHESIS_HOOKS": str(pathlib.Path(__file__).resolve())}
    print(f"-- as {role}", flush=True)
    return subprocess.run(command, env=environment).returncode == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("roles", nargs="*", choices=[*ROLES, []])
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}, {arguments.examples} examples for each operation")
    with tempfile.TemporaryDirectory() as folder:
        # The server exits if it finds an unknown `ADIEU_` variable.
        os.environ.update(SETTINGS, ADIEU_DATA=f"{folder}/data", API_BIN=os.environ.pop("ADIEU_BIN"))
        os.chdir(folder)
        pathlib.Path("schemathesis.toml").write_text(CHECKS)
        adieu("user", "add", "boss", "--admin", "--password-stdin", stdin=PASSWORD)
        secret = adieu("client", "add", "service", "--capabilities", "follow,revoke,introspect").split()[-1]
        os.environ["API_CLIENT"] = "Basic " + base64.b64encode(f"service:{secret}".encode()).decode()
        server = subprocess.Popen([os.environ["API_BIN"], "serve"], stdout=subprocess.PIPE, text=True)
        try:
            address = server.stdout.readline().split("http://")[1].split()[0]
            os.environ["API_ADDRESS"] = address
            began_at = time.monotonic()
            passed = [run(role, address, arguments.examples, arguments.seed) for role in arguments.roles or ROLES]
            print(f"took {time.monotonic() - began_at:.0f} s")
        finally:
            server.terminate()
            ended = server.wait()
    sys.exit(0 if all(passed) and ended == 0 else 1)


if __name__ == "__main__":
    main()
elif "API_ROLE" in os.environ:
    import schemathesis

    @schemathesis.serializer("application/secevent+jwt")
    def security_event_token(context, value):
        return value if isinstance(value, bytes) else str(value).encode()

    if os.environ["API_ROLE"] != "anonymous":
        schemathesis.auth(refresh_interval=None)(Credentials)
