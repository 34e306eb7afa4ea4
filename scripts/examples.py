"""Checks examples/compose.yaml and examples/kubernetes: against the schemas, and what no schema knows.

    python scripts/examples.py ADIEU      the server, which judges the settings

Needs check-jsonschema, kubernetes-validate and PyYAML.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

COMPOSE = Path("examples/compose.yaml")
MANIFESTS = sorted(Path("examples/kubernetes").glob("*.yaml"))
# Custom resources, which no schema of Kubernetes describes, with the fields that they need.
CUSTOM = {"ServiceMonitor": ("selector", "endpoints")}


def fail(message: str) -> None:
    sys.exit(f"scripts/examples.py: {message}")


def tool(name: str, *arguments: str) -> None:
    done = subprocess.run([Path(sys.executable).parent / name, *arguments], check=False, text=True, capture_output=True)
    if done.returncode != 0:
        fail(f"{name} {' '.join(arguments)}:\n{done.stdout}{done.stderr}")


def settings_are_good(adieu: str, name: str, settings: dict[str, str]) -> None:
    """Lets the server read the settings of a container with those of the image, as they are at its start."""
    text = Path("scripts/image").read_text()
    image = dict(re.findall(r'"(ADIEU_\w+)=([^"]*)"', text))
    assert len(image) == 3, image
    environment = {**image, **settings}
    done = subprocess.run([adieu, "config", "--effective"], check=False, env=environment, text=True, capture_output=True)
    if done.returncode != 0:
        fail(f"{name}: {done.stderr}")


def compose(adieu: str, version: str) -> None:
    tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE))
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    ours = {name: service for name, service in services.items() if service["image"].startswith("adieu:")}
    assert set(ours) == {"adieu", "relay"}
    for name, service in ours.items():
        if service["image"] != f"adieu:{version}":
            fail(f"{COMPOSE}: {name} has the image {service['image']}, not adieu:{version}")
        if not (service["read_only"] and service["cap_drop"] == ["ALL"]):
            fail(f"{COMPOSE}: {name} is not restricted")
        settings_are_good(adieu, f"{COMPOSE}: {name}", service["environment"])


def matches(selector: dict, labels: dict) -> bool:
    return selector.items() <= labels.items()


def kubernetes(adieu: str, version: str) -> None:
    found = [part for file in MANIFESTS for part in yaml.safe_load_all(file.read_text())]
    standard = [part for part in found if part["kind"] not in CUSTOM]
    folder = Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "kubernetes"
    folder.mkdir(parents=True, exist_ok=True)
    for index, part in enumerate(standard):
        file = folder / f"{index}.yaml"
        file.write_text(yaml.safe_dump(part))
        tool("kubernetes-validate", "--strict", str(file))
    kinds: dict[str, list[dict]] = {}
    for part in found:
        kinds.setdefault(part["kind"], []).append(part)
    for kind, fields in CUSTOM.items():
        for part in kinds[kind]:
            if missing := [field for field in fields if field not in part["spec"]]:
                fail(f"{kind} has no {missing}")

    templates = [part["spec"]["template"] for part in kinds["Deployment"]]
    labels = [template["metadata"]["labels"] for template in templates]
    selectors = [part["spec"]["selector"]["matchLabels"] for part in kinds["Deployment"] + kinds["PodDisruptionBudget"]]
    selectors += [part["spec"]["podSelector"]["matchLabels"] for part in kinds["NetworkPolicy"]]
    selectors += [part["spec"]["selector"] for part in kinds["Service"]]
    for selector in selectors:
        if not any(matches(selector, of_pod) for of_pod in labels):
            fail(f"no pod has the labels {selector}")
    ports = {port["name"] for template in templates for port in template["spec"]["containers"][0].get("ports", [])}
    named = {port["targetPort"] for part in kinds["Service"] for port in part["spec"]["ports"]}
    named |= {port["port"] for part in kinds["NetworkPolicy"] for rule in part["spec"]["ingress"] for port in rule["ports"]}
    if missing := named - ports:
        fail(f"no container has the ports {missing}")
    for part in kinds["ServiceMonitor"]:
        services = [s for s in kinds["Service"] if matches(part["spec"]["selector"]["matchLabels"], s["metadata"]["labels"])]
        served = {port["name"] for service in services for port in service["spec"]["ports"]}
        if not {endpoint["port"] for endpoint in part["spec"]["endpoints"]} <= served:
            fail(f"the ServiceMonitor names a port that no service has: {served}")

    checked = 0
    for template in templates:
        pod = template["spec"]
        if not pod["securityContext"]["runAsNonRoot"] or pod["automountServiceAccountToken"] or pod["enableServiceLinks"]:
            fail(f"{template['metadata']['labels']} is not restricted")
        for container in pod["containers"] + pod.get("initContainers", []):
            context = container["securityContext"]
            if not context["readOnlyRootFilesystem"] or context["allowPrivilegeEscalation"] or context["capabilities"]["drop"] != ["ALL"]:
                fail(f"{container['name']} is not restricted")
            if container["image"].startswith("adieu:"):
                checked += 1
                if container["image"] != f"adieu:{version}":
                    fail(f"{container['name']} has the image {container['image']}, not adieu:{version}")
                settings = {entry["name"]: entry.get("value", "postgres://adieu@postgres/adieu") for entry in container["env"]}
                settings_are_good(adieu, container["name"], settings)
    assert checked == 2


def main() -> None:
    adieu = sys.argv[1]
    version = subprocess.run([adieu, "--version"], check=True, text=True, capture_output=True).stdout.split()[1]
    compose(adieu, version)
    kubernetes(adieu, version)
    print(f"examples/compose.yaml and {len(MANIFESTS)} files for Kubernetes: the schemas and the settings are good")


main()
