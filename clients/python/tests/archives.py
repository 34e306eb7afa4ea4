"""Checks the files in the built wheels and source distributions of a folder: run by the test command, not by pytest."""

import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
MAX_WHEEL_BYTES = 3_000_000
MAX_CORE_MANYLINUX = "manylinux_2_17_"


def contents(archive: Path) -> dict[str, bytes]:
    """Returns the files of an archive; those of a source distribution without its top folder."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist()}
    with tarfile.open(archive) as source:
        members = [member for member in source if member.isfile()]
        # A link would point to nothing on another machine.
        assert all(member.isfile() or member.isdir() for member in source), archive
        return {member.name.partition("/")[2]: source.extractfile(member).read() for member in members}  # type: ignore[union-attr]


def check(archive: Path) -> str:
    """Checks an archive, and returns the name of its package."""
    files = contents(archive)
    is_wheel = archive.suffix == ".whl"
    names = [name for name in files if name.endswith((".dist-info/METADATA", "PKG-INFO")) and "egg-info" not in name]
    about = Parser().parsestr(files[names[0]].decode())
    package = about["Name"].replace("-", "_")
    assert about["License-Expression"] == "MIT OR Apache-2.0"
    assert set(about.get_all("License-File", [])) == {"LICENSE-APACHE", "LICENSE-MIT"}
    assert about["Requires-Python"] == ">=3.10"
    assert {link.partition(",")[0] for link in about.get_all("Project-URL", [])} == {"Repository", "Changelog"}
    assert {"Typing :: Typed", "Topic :: Security"} <= set(about.get_all("Classifier", []))
    assert about["Description-Content-Type"].startswith("text/markdown")
    assert len(about.get_payload()) > 100

    folder = "" if is_wheel or package == "adieu_core" else "src/"
    changelog = (HERE.parents[1] / "CHANGELOG.md").read_bytes()
    assert files[f"{folder}{package}/CHANGELOG.md"] == changelog, archive
    assert f"{folder}{package}/py.typed" in files, archive
    for licence in ("LICENSE-MIT", "LICENSE-APACHE"):
        assert any(name.endswith(licence) and text for name, text in files.items()), (archive, licence)
    if is_wheel:
        # Nothing lands beside the package, such as its tests.
        assert {name.partition("/")[0].partition("-")[0] for name in files} == {package}, archive
    if package == "adieu":
        assert is_wheel or "pyproject.toml" in files
        check_extras(about.get_all("Requires-Dist", []))
    elif is_wheel:
        assert any(name.endswith(".abi3.so") for name in files), archive
        assert f"{package}/__init__.pyi" in files, archive
    else:
        assert {"Cargo.lock", "clients/python-core/Cargo.toml", "crates/adieu/Cargo.toml"} <= files.keys(), archive
    return package


def check_extras(requirements: list[str]) -> None:
    """Checks that the lowest versions of the extras are those that the tests run with."""
    pins = dict(lowest_versions())
    for requirement in requirements:
        name, at_least, rest = requirement.partition(">=")
        if at_least:
            version = rest.partition(";")[0].strip()
            tested = pins[name.partition("[")[0].strip().lower()]
            assert f"{tested}.".startswith(f"{version}."), (requirement, tested)


def lowest_versions() -> Iterator[tuple[str, str]]:
    """Yields the packages of requirements-lowest.txt and their versions."""
    for line in (HERE / "requirements-lowest.txt").read_text().splitlines():
        name, pinned, version = line.partition("==")
        if pinned:
            yield name.lower(), version


def check_release(archive: Path) -> None:
    """Checks that a wheel is small, and runs on old systems."""
    assert archive.stat().st_size <= MAX_WHEEL_BYTES, (archive, archive.stat().st_size)
    assert MAX_CORE_MANYLINUX in archive.name or archive.name.endswith("none-any.whl"), archive


def main() -> None:
    """Checks the archives of the folder; with `--release`, wheels that are to be published."""
    found = sorted(Path(sys.argv[-1]).glob("adieu*"))
    packages = [(check(archive), archive.suffix) for archive in found]
    assert set(packages) == {(name, suffix) for name in ("adieu", "adieu_core") for suffix in (".whl", ".gz")}, packages
    if "--release" in sys.argv:
        for archive in found:
            if archive.suffix == ".whl":
                check_release(archive)
    for archive in found:
        print(f"{archive.stat().st_size:>10,} bytes  {archive.name}")


main()
