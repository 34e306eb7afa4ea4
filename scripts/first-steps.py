"""Does what the pages of docs/start tell a reader to do, and compares the output.

    scripts/first-steps.py [PAGE …]

In a page, "`NAME`:" before a block of code is the name of its file. A block `sh` is run, all of a page in one shell; each comment is a
line that its commands print, in which `…` is any text. A block `sh background PORT` is a terminal of its own, in which a server runs that
listens on this port. For the block `sh install`, the packages that it names must be installed. Ports are replaced by free ones.

$ADIEU_BIN is the server. Needs the packages of clients/python/requirements-dev.txt and of clients/node, curl, and Caddy. The page about
axum needs the example `start` of adieu-axum beside the server, which has the same code.
"""

import contextlib
import http.client
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parent.parent
PAGES = ROOT / "docs" / "start"
SERVER = pathlib.Path(os.environ.pop("ADIEU_BIN")).absolute()
EXAMPLE = SERVER.parent / "examples" / "start"
MODULES = ROOT / "clients" / "node" / "node_modules"
BLOCK = re.compile(r"(?:`([\w./]+)`[^\n]*:\n\n)?^```([^\n]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Longer than a start takes on the slowest machine.
START_TIMEOUT = 60
END = "--end of the block--"


class Ports:
    """Free ports in the place of those that a page names."""

    def __init__(self):
        self.free = {}

    def __getitem__(self, port):
        if port not in self.free:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                self.free[port] = listener.getsockname()[1]
        return self.free[port]

    def replace(self, text):
        text = re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda port: str(self[port[0]]), text)
        return re.sub(r"(?<=--port )\d+|(?<=listen\()\d+", lambda port: str(self[port[0]]), text)


class Shell:
    """A shell that runs the blocks of a page, one after the other."""

    def __init__(self, folder, environment):
        self.process = subprocess.Popen(
            ["bash", "-s"], cwd=folder, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def run(self, commands):
        self.process.stdin.write(f"set -euo pipefail\n{commands}\necho; echo '{END}'\n")
        self.process.stdin.flush()
        output = ""
        for line in self.process.stdout:
            if line.strip() == END:
                return output
            output += line
        raise AssertionError(f"a command of the block failed: {commands}{output}")


def check(output, commands):
    """Each comment is printed, in this order."""
    rest = output
    for comment in re.findall(r"^# (.+)$", commands, re.MULTILINE):
        found = re.search(re.escape(comment).replace("…", ".*?"), rest)
        assert found, f"not printed: {comment}\n{output}"
        rest = rest[found.end() :]


def wait_for(port, process, log):
    for _ in range(START_TIMEOUT * 20):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_TIMEOUT)
            connection.request("GET", "/")
            connection.getresponse()
            return
        time.sleep(0.05)
    raise AssertionError(f"does not answer: {log.read_text()}")


def installed(commands, environment):
    for words in map(str.split, commands.strip().splitlines()):
        packages = [name for name in words[2:] if not name.startswith("./clients/")]
        if words[0] == "pip":
            subprocess.run(["pip", "show", "--quiet", "adieu", *packages], check=True, env=environment)
        else:
            assert words[:2] == ["npm", "install"], words
            for name in packages:
                assert (MODULES / name / "package.json").exists(), f"{name} is not installed"


def follow(page, folder):
    programs = folder / "bin"
    programs.mkdir()
    (programs / "adieu").symlink_to(SERVER)
    # What `npm install` makes.
    modules = folder / "node_modules"
    modules.mkdir()
    for module in MODULES.iterdir():
        (modules / module.name).symlink_to(module)
    (modules / "@adieu").mkdir()
    (modules / "@adieu" / "client").symlink_to(ROOT / "clients" / "node")
    paths = [programs, pathlib.Path(sys.executable).parent, os.environ["PATH"]]
    environment = {**os.environ, "PATH": os.pathsep.join(map(str, paths)), "HOME": str(folder)}

    ports = Ports()
    shell = Shell(folder, environment)
    servers = []
    try:
        for name, kind, text in BLOCK.findall(page.read_text()):
            text = ports.replace(text)
            match kind.split():
                case ["sh"]:
                    check(shell.run(text), text)
                case ["sh", "background", port]:
                    log = folder / f"{port}.log"
                    for command, here in [("adieu", "exec adieu --listen"), ("cargo run", f"exec {EXAMPLE}")]:
                        text = re.sub(rf"^{command}$", f"{here} 127.0.0.1:{ports[port]}", text, flags=re.MULTILINE)
                    server = subprocess.Popen(
                        ["bash", "-c", text],
                        cwd=folder, env=environment, stdout=log.open("w"), stderr=subprocess.STDOUT, start_new_session=True,
                    )  # fmt: skip
                    servers.append(server)
                    wait_for(ports[port], server, log)
                case ["sh", "install"]:
                    installed(text, environment)
                case ["rust"]:
                    example = ROOT / "crates/adieu-axum/examples/start.rs"
                    assert text in ports.replace(example.read_text()), "differs from the example"
                case _:
                    assert name, f"{page.name}: a block of {kind} without the name of its file"
                    (folder / name).parent.mkdir(exist_ok=True)
                    (folder / name).write_text(text)
    finally:
        # With what a block that failed has left in the background.
        os.killpg(shell.process.pid, signal.SIGKILL)
        shell.process.wait(30)
        for server in servers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)


def main():
    for name in sys.argv[1:] or sorted(page.stem for page in PAGES.glob("*.md")):
        with tempfile.TemporaryDirectory() as folder:
            follow(PAGES / f"{name}.md", pathlib.Path(folder))
        print(f"{name}: as the page says")


main()
