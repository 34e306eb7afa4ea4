"""Writes docs/reference from what the server says about itself: `adieu config`, `adieu … --help` and its OpenAPI document.

    scripts/reference.py            writes the pages
    scripts/reference.py --check    exits with status 1 if they differ from what it would write

$ADIEU_BIN is the server.
"""

import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "reference"
# The server rejects variables that are not its settings.
SERVER = os.environ.pop("ADIEU_BIN")
NOTE = "<!-- Written by scripts/reference.py: change the source that it names, not this page. -->\n"
METHODS = ["get", "post", "put", "patch", "delete", "head", "options", "trace"]


def run(*arguments):
    return subprocess.run([SERVER, *arguments], check=True, capture_output=True, text=True).stdout


def settings():
    introduction, *blocks = run("config").split("\n\n")
    lines = [comment(line) for line in introduction.splitlines()[2:]]
    page = f"# Settings\n\n{NOTE}\n" + "\n".join(lines) + "\n\n`adieu config` prints these settings as a file to start from, "
    page += "and `adieu config --effective` those in effect, without secrets.\n"
    for block in blocks:
        if not block.strip():
            continue
        text = []
        facts = []
        reload = None
        *comments, assignment = block.strip().splitlines()
        name = re.match(r"#?(\w+) =", assignment)[1]
        for line in map(comment, comments):
            if variable := re.fullmatch(r"Can also be specified via environment variable `(\w+)`\.", line):
                facts.append(f"Environment: `{variable[1]}`")
            elif default := re.fullmatch(r"Default value: (.*)", line):
                facts.append(f"Default: `{default[1]}`")
            elif line in ("A reload applies a change.", "A change needs a restart."):
                reload = line
            else:
                text.append(line)
        assert reload, name
        page += f"\n## `{name}`\n\n" + "\n".join(text).strip() + "\n\n" + " · ".join([*reversed(facts), reload]) + "\n"
    return page


def comment(line):
    assert line.startswith("#"), line
    return line[1:].strip()


def command_line():
    page = f"# Command line\n\n{NOTE}\n"
    page += "The server and all its commands are one program. `adieu man FOLDER` writes these pages as manual pages, and\n"
    page += "`adieu completions SHELL` prints completions. Commands work on the store itself, also while servers run.\n"
    for command in commands([]):
        help_text = run(*command, "--help").strip()
        page += f"\n## `{' '.join(['adieu', *command])}`\n\n```text\n{help_text}\n```\n"
    return page


def commands(path):
    yield path
    listed = re.search(r"^Commands:\n((?:  .*\n|\n(?=  ))*)", run(*path, "--help"), re.MULTILINE)
    for name in re.findall(r"^  ([a-z][\w-]*)", listed[1] if listed else "", re.MULTILINE):
        if name != "help":
            yield from commands([*path, name])


def openapi():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        log = open(pathlib.Path(folder) / "log", "w+")
        process = subprocess.Popen([SERVER, "--listen", f"127.0.0.1:{port}", "--data", f"{folder}/data"], stdout=log, stderr=log)
        try:
            while True:
                with contextlib.suppress(OSError):
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=10) as response:
                        return json.load(response)
                assert process.poll() is None, (folder, log.seek(0), log.read())
                time.sleep(0.05)
        finally:
            process.terminate()
            process.wait(20)


def one_line(text):
    return " ".join((text or "").split()).replace("|", r"\|")


def caller(operation):
    kinds = {"access": "access token", "refresh": "refresh token", "client": "client", "issuer": "trusted issuer"}
    return " or ".join(kinds[kind] for each in operation.get("security", []) for kind in each) or "anyone"


def api(document):
    page = f"# HTTP API\n\n{NOTE}\n{one_line(document['info']['description'])}\n\n"
    page += "A running server has the same as an OpenAPI document at `/openapi.json`, with the fields of each body, and as a page at `/docs`.\n"
    page += "An access or refresh token is sent as `Authorization: Bearer …`; a client sends its name and secret with HTTP Basic.\n"
    page += "[Errors](errors.md) has the bodies of each status.\n"
    for tag in document["tags"]:
        page += f"\n## {tag['name']}\n\n{one_line(tag.get('description'))}\n\n| route | caller | | statuses |\n|---|---|---|---|\n"
        for path, operations in document["paths"].items():
            rows = {}
            for method in sorted(operations, key=METHODS.index):
                operation = operations[method]
                if tag["name"] in operation["tags"]:
                    row = (caller(operation), one_line(operation["summary"]), ", ".join(sorted(operation["responses"])))
                    rows.setdefault(row, []).append(method.upper())
            for row, methods in rows.items():
                # A route that accepts all methods, as /verify does for proxies, is one line.
                names = "any method" if len(methods) == len(METHODS) else "/".join(methods)
                page += f"| `{names} {path}` | {' | '.join(row)} |\n"
    return page


def errors(document):
    page = f"# Errors\n\n{NOTE}\nEach status of the [API](api.md) and the bodies that come with it.\n"
    statuses = {}
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if status >= "400":
                    meanings, bodies = statuses.setdefault(status, ({}, {}))
                    meanings[one_line(response["description"])] = None
                    for content in response.get("content", {}).values():
                        for example in content.get("examples", {}).values():
                            bodies[json.dumps(example["value"])] = None
    for status, (meanings, bodies) in sorted(statuses.items()):
        page += f"\n## {status}\n\n" + "".join(f"* {meaning}\n" for meaning in sorted(meanings))
        if bodies:
            page += "\n```json\n" + "\n".join(sorted(bodies)) + "\n```\n"
    return page


def main():
    document = openapi()
    pages = {"settings.md": settings(), "command-line.md": command_line(), "api.md": api(document), "errors.md": errors(document)}
    differing = []
    for name, page in pages.items():
        path = FOLDER / name
        if not path.exists() or path.read_text() != page:
            differing.append(f"docs/reference/{name}")
            if "--check" not in sys.argv:
                path.parent.mkdir(exist_ok=True)
                path.write_text(page)
    if "--check" in sys.argv and differing:
        sys.exit(f"{', '.join(differing)} must be written again: run scripts/reference.py with ADIEU_BIN")


main()
