"""Runs the code of docs/other-languages.md: each language's program, protected by it, beside a real relay.

    scripts/languages.py [LANGUAGE …]

Needs go, javac with Tomcat, php with curl, and ruby with rack. $ADIEU_BIN is the server. Prints a line for each language; exit
status 1 if one fails.
"""

import base64
import contextlib
import hmac
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import uuid

ROOT = pathlib.Path(__file__).parent.parent
PAGE = ROOT / "docs" / "other-languages.md"
PROGRAMS = ROOT / "tests" / "languages"
TOMCAT = "/usr/share/java/tomcat10-embed-core.jar"
# The server rejects variables that are not its settings.
SERVER = os.environ.pop("ADIEU_BIN")
PASSWORD = "correct horse battery staple"
SECRET = "0123456789abcdef0123456789abcdef"
# Not ASCII, and with characters that decoders treat differently.
SUBJECT = "josé +%41&=/"

# Of each language: the file for the page's code, the file with the program, how to compile, and how to run.
LANGUAGES = {
    "go": ("adieu/adieu.go", "main.go", ["go", "build", "-o", "main", "."], ["./main", "{port}", "{verify}"]),
    "java": (
        "AdieuFilter.java",
        "Main.java",
        ["javac", "-Xlint:all,-serial,-processing", "-Werror", "-cp", TOMCAT, "AdieuFilter.java", "Main.java"],
        ["java", "-cp", f"{TOMCAT}:/usr/share/java/*:.", "Main", "{port}", "{verify}"],
    ),
    "php": ("adieu.php", "main.php", ["php", "-l", "adieu.php"], ["php", "-S", "127.0.0.1:{port}", "main.php"]),
    "ruby": ("adieu.rb", "main.rb", ["ruby", "-wc", "adieu.rb"], ["ruby", "-w", "main.rb", "{port}", "{verify}"]),
}


def request(port, method="GET", path="/", token=None, body=None, headers=()):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, path)
    for name, value in headers:
        connection.putheader(name, value)
    if token is not None:
        connection.putheader("Authorization", f"Bearer {token}")
    payload = b"" if body is None else json.dumps(body).encode()
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(len(payload)))
    connection.endheaders(payload)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response, text


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_for(port, process):
    for _ in range(600):
        assert process.poll() is None, f"ended with status {process.returncode}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError("does not listen")


@contextlib.contextmanager
def running(command, port, folder, **settings):
    log = open(folder / f"{port}.log", "ab")
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, **settings}, stdout=log, stderr=log)
    try:
        wait_for(port, process)
        yield process
    except (AssertionError, OSError):
        print((folder / f"{port}.log").read_text()[-4000:], file=sys.stderr)
        raise
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(20)


def server(folder, port, **settings):
    """A node, or a relay if it follows one."""
    settings = {"ADIEU_LISTEN": f"127.0.0.1:{port}", "ADIEU_DATA": str(folder / f"data-{port}"), **settings}
    return running([SERVER], port, folder, **settings)


def until(condition):
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("does not happen within 10 s")


def log_in(node):
    return json.loads(request(node, "POST", "/login", body={"username": "jose", "password": PASSWORD})[1])["access_token"]


def token_of_other_issuer():
    def encode(value):
        return base64.urlsafe_b64encode(value if isinstance(value, bytes) else json.dumps(value).encode()).rstrip(b"=")

    now = int(time.time())
    claims = {"iss": "shop", "sub": SUBJECT, "jti": str(uuid.uuid4()), "type": "access", "iat": now, "exp": now + 600}
    signed = encode({"alg": "HS256", "typ": "JWT"}) + b"." + encode(claims)
    return (signed + b"." + encode(hmac.digest(SECRET.encode(), signed, "sha256"))).decode()


def unavailable(port, token, why):
    started = time.monotonic()
    response, body = request(port, token=token)
    assert (response.status, response.getheader("Retry-After")) == (503, "1"), (why, response.status, body)
    assert time.monotonic() - started < 3, why


def check(port, node, relay, relay_process):
    # Two subjects; nothing of the request but the token counts.
    token, other = log_in(node), token_of_other_issuer()
    own_subject = request(relay, path="/verify", token=token)[0].getheader("X-Adieu-Subject")
    for good, subject in [(token, own_subject), (other, SUBJECT)]:
        response, body = request(port, token=good, headers=[("X-Adieu-Subject", "ana")])
        assert (response.status, body.decode()) == (200, subject), (subject, response.status, body)

    # No token, one that is none, two at once, and one that was logged out: the answer is the relay's.
    revoked = log_in(node)
    assert request(node, "POST", "/logout?wait=everywhere", token=revoked)[0].status == 200
    until(lambda: request(relay, path="/verify", token=revoked)[0].status == 401)
    for case in [None, "none", "x" * 6000, revoked]:
        answer, theirs = request(relay, path="/verify", token=case)
        response, body = request(port, token=case)
        assert (response.status, body) == (answer.status, theirs), (case, response.status, body)
        assert response.status == 401, (case, response.status)
        for name in ("WWW-Authenticate", "Content-Type"):
            assert response.getheader(name) == answer.getheader(name), (case, name, response.getheader(name))
    response, _ = request(port, token=token, headers=[("Authorization", f"Bearer {revoked}")])
    assert response.status in (400, 401), ("two headers", response.status)

    # A relay that hangs, and one that continues.
    relay_process.send_signal(signal.SIGSTOP)
    unavailable(port, token, "hangs")
    relay_process.send_signal(signal.SIGCONT)
    until(lambda: request(port, token=token)[0].status == 200)


def prove(language, node, settings, folder):
    code, program, compile_, run = LANGUAGES[language]
    [block] = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (folder / code).parent.mkdir(parents=True, exist_ok=True)
    (folder / code).write_text(block)
    shutil.copy(PROGRAMS / program, folder)
    if language == "go":
        (folder / "go.mod").write_text("module languages\n\ngo 1.19\n")
    subprocess.run(compile_, cwd=folder, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "GOFLAGS": "-mod=mod"})
    port, relay = free_port(), free_port()
    follow = {"ADIEU_FOLLOW": f"http://127.0.0.1:{node}", "ADIEU_FOLLOW_CLIENT": "shop", **settings}
    verify = f"http://127.0.0.1:{relay}/verify"
    with running([part.format(port=port, verify=verify) for part in run], port, folder, VERIFY=verify):
        with server(folder, relay, **follow) as process:
            until(lambda: request(relay, path="/readyz")[0].status == 200)
            check(port, node, relay, process)
        # The relay has stopped, and comes back on the same port.
        token = log_in(node)
        unavailable(port, token, "stopped")
        with server(folder, relay, **follow):
            until(lambda: request(port, token=token)[0].status == 200)


def main():
    wanted = sys.argv[1:] or list(LANGUAGES)
    failed = []
    with tempfile.TemporaryDirectory(prefix="adieu-") as name:
        folder = pathlib.Path(name)
        node = free_port()
        unlimited = {f"ADIEU_LOGIN_ATTEMPTS_PER_{what}": "1000000 per 1s" for what in ("ACCOUNT", "ADDRESS")}
        with server(folder, node, **unlimited):
            assert request(node, "POST", "/register", body={"username": "jose", "password": PASSWORD})[0].status == 201
            command = [SERVER, "client", "add", "shop", "--capabilities", "follow"]
            environment = {**os.environ, "ADIEU_DATA": str(folder / f"data-{node}")}
            secret = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.split()[-1]
            settings = {}
            for setting, text in {"ADIEU_FOLLOW_SECRET_FILE": secret, "issuer": SECRET}.items():
                settings[setting] = str(folder / setting)
                pathlib.Path(settings[setting]).touch(mode=0o600)
                pathlib.Path(settings[setting]).write_text(text)
            issuer = settings.pop("issuer")
            settings["ADIEU_TRUSTED_ISSUER"] = f'[{{ name = "shop", secret_file = "{issuer}", accept_generic_type = true }}]'
            for language in wanted:
                (folder / language).mkdir()
                try:
                    prove(language, node, settings, folder / language)
                    print(f"{language}: passed")
                except (AssertionError, subprocess.CalledProcessError, OSError) as error:
                    traceback.print_exc()
                    print(f"{language}: FAILED: {error!r}")
                    failed.append(language)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
