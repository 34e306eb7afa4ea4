"""Prints the software bill of materials of the server for a target: CycloneDX 1.6 in JSON, from the dependencies that Cargo resolves.

    python3 scripts/sbom.py x86_64-unknown-linux-musl

Only packages that are compiled for the target are listed, including those of build scripts and macros. `SOURCE_DATE_EPOCH` is its time.
"""

import json
import os
import subprocess
import sys
import tomllib
import uuid
from datetime import UTC, datetime

ROOT = "adieu-server"


def metadata(target: str) -> dict:
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform", target]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def checksums() -> dict[tuple[str, str], str]:
    """Returns the checksum of each package of a registry, by name and version."""
    with open("Cargo.lock", "rb") as file:
        packages = tomllib.load(file)["package"]
    return {(found["name"], found["version"]): found["checksum"] for found in packages if "checksum" in found}


def compiled(resolve: dict[str, dict], root: str) -> dict[str, list[str]]:
    """Returns the packages that are compiled with `root`, each with its dependencies, without those of tests."""
    found: dict[str, list[str]] = {}
    waiting = [root]
    while waiting:
        package = waiting.pop()
        if package not in found:
            needed = [
                other["pkg"]
                for other in resolve[package]["deps"]
                if any(kind["kind"] != "dev" for kind in other["dep_kinds"])
            ]
            found[package] = sorted(set(needed))
            waiting += needed
    return found


def component(package: dict, hashes: dict[tuple[str, str], str]) -> dict:
    name, version = package["name"], package["version"]
    described = {
        "type": "application" if name == ROOT else "library",
        "bom-ref": f"pkg:cargo/{name}@{version}",
        "name": name,
        "version": version,
        "purl": f"pkg:cargo/{name}@{version}",
    }
    if package["description"]:
        described["description"] = " ".join(package["description"].split())
    if package["license"]:
        # Some crates write the older form.
        described["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if (checksum := hashes.get((name, version))) is not None:
        described["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        described["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return described


def main() -> None:
    found = metadata(sys.argv[1])
    packages = {package["id"]: package for package in found["packages"]}
    root = next(name for name, package in packages.items() if package["name"] == ROOT)
    graph = compiled({node["id"]: node for node in found["resolve"]["nodes"]}, root)
    hashes = checksums()
    components = {name: component(packages[name], hashes) for name in graph}
    reference = {name: described["bom-ref"] for name, described in components.items()}
    created = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ordered = sorted(graph, key=reference.__getitem__)
    bill = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"timestamp": created, "component": components[root]},
        "components": [components[name] for name in ordered if name != root],
        "dependencies": [
            {"ref": reference[name], "dependsOn": sorted(reference[other] for other in graph[name])} for name in ordered
        ],
    }
    # The same content has the same serial number.
    content = json.dumps(bill, indent=1)
    bill["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}"
    print(json.dumps(bill, indent=1))


main()
