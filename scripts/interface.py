"""Checks what the library crates promise to their users, and prints each breach.

    scripts/interface.py          types and minimum Rust version
    scripts/interface.py --list   the crates whose types are public, and where

1. No type of a 0.x crate is in the public interface of `adieu` and `adieu-axum`, other than those of axum's own world: such a
   crate could not be updated without a new major version of ours.
2. Each crate's `rust-version` is at least that of every crate it depends on.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Crates whose types may be public: the standard library, 1.x crates, and the crates of axum's own world.
ALLOWED = {
    "adieu": {"std", "core", "alloc", "serde_core", "serde_json", "tokio", "uuid"},
    "adieu-axum": {"std", "core", "alloc", "adieu", "axum", "axum_core", "http", "http_body", "bytes", "serde_core",
                   "serde_json", "tower_layer", "tower_service"},
}  # fmt: skip


def described(crate, folder):
    """The public items of a crate, as rustdoc describes them for programs."""
    # Unstable options need RUSTC_BOOTSTRAP. Setting it for cargo would compile every dependency again.
    rustdoc = Path(folder) / "rustdoc"
    rustdoc.write_text(f'#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec {os.environ.get("RUSTDOC", "rustdoc")} "$@"\n')
    rustdoc.chmod(0o755)
    options = ["--", "-Z", "unstable-options", "--output-format", "json"]
    command = ["cargo", "rustdoc", "--quiet", "--locked", "--lib", "--all-features", "--package", crate, *options]
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "RUSTDOC": str(rustdoc)})
    return json.loads((target() / "doc" / f"{crate.replace('-', '_')}.json").read_text())


def target():
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target")


def paths_in(value):
    """The ids of all types and traits that are named anywhere in a description."""
    if isinstance(value, dict):
        if "path" in value and "id" in value and isinstance(value["id"], int):
            yield value["id"]
        for name, inner in value.items():
            if name not in ("docs", "links", "attrs", "span"):
                yield from paths_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from paths_in(inner)


def foreign(description):
    """Pairs of a crate and an item of ours whose signature names a type or trait of that crate."""
    found = set()
    for item in description["index"].values():
        kind = next(iter(item["inner"]))
        if item["crate_id"] != 0 or kind in ("use", "module"):
            continue
        signature = item["inner"][kind]
        if kind == "impl" and (signature["is_synthetic"] or signature["blanket_impl"]):
            continue
        for path in paths_in(signature):
            named = description["paths"].get(str(path))
            if named and named["crate_id"] != 0:
                crate = description["external_crates"][str(named["crate_id"])]["name"]
                found.add((crate, item["name"] or "::".join(named["path"])))
    return found


def breaches():
    with tempfile.TemporaryDirectory() as folder:
        for crate, allowed in ALLOWED.items():
            for other, item in sorted(foreign(described(crate, folder))):
                if "--list" in sys.argv:
                    print(f"{crate}: {other} in {item}")
                if other not in allowed:
                    yield f"{crate}: a type of {other} is in the public interface, in {item}"
    output = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--locked"], cwd=ROOT, check=True, capture_output=True
    )
    metadata = json.loads(output.stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    for member in metadata["workspace_members"]:
        ours, seen, stack = version(packages[member]), set(), [member]
        while stack:
            for dependency in nodes[stack.pop()]["deps"]:
                kinds = {kind["kind"] for kind in dependency["dep_kinds"]}
                if kinds != {"dev"} and dependency["pkg"] not in seen:
                    seen.add(dependency["pkg"])
                    stack.append(dependency["pkg"])
        for package in (packages[package] for package in seen):
            if version(package) > ours:
                needs = f"{package['name']} {package['version']} needs Rust {package['rust_version']}"
                yield f"{packages[member]['name']}: {needs}"


def version(package):
    numbers = (package["rust_version"] or "1.0").split(".")
    return int(numbers[0]), int(numbers[1])


if __name__ == "__main__":
    sys.exit("\n".join(breaches()) or 0)
