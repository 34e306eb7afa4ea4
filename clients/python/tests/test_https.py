"""The connection to the node verifies the certificate."""

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from adieu_server import Credentials, Server
from conftest import TEST_TIMEOUT, eventually, in_a_child, new_id
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fake_node import a_node_that_answers

from adieu import Blocklist, RefusedError, StaleError, UnavailableError, Verifier
from adieu.node import Node

Follow = Callable[..., Blocklist]


def a_certificate(folder: Path, holder: str = "127.0.0.1") -> Path:
    """Creates a self-signed certificate for 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, holder)])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / f"{holder}.pem"
    pem.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem


@contextlib.contextmanager
def speaking_tls(
    port: int, certificate: Path, demanded: Path | None = None, seen: list[object] | None = None
) -> Iterator[str]:
    """Starts a TLS proxy in front of a server; yields its URL. It rejects clients without the demanded certificate.

    With `seen`, it accepts them, and adds the certificate of each client, or none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if demanded is not None:
        context.verify_mode = ssl.CERT_REQUIRED if seen is None else ssl.CERT_OPTIONAL
        context.load_verify_locations(demanded)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # The client has disconnected.
        finally:
            writer.close()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if seen is not None:
            seen.append(writer.get_extra_info("peercert"))
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, server_writer), pump(server_reader, writer))

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    starting = asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=context)
    listener = asyncio.run_coroutine_threadsafe(starting, loop).result(TEST_TIMEOUT)

    async def end() -> None:
        listener.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    try:
        yield f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(TEST_TIMEOUT)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.mark.parametrize("how", ["ca_file", "ssl_context"])
def test_it_follows_over_tls_also_after_a_fork(
    shared_server: Server, shared_client: Credentials, follow: Follow, tmp_path: Path, how: str
) -> None:
    certificate = a_certificate(tmp_path)
    trusting: dict[str, Any] = {"ca_file": certificate}
    if how == "ssl_context":
        trusting = {"ssl_context": ssl.create_default_context(cafile=str(certificate))}
    with speaking_tls(shared_server.port, certificate) as url:
        blocklist = follow(url, shared_client, **trusting, start_timeout=TEST_TIMEOUT)
        jti = new_id()
        blocklist.add(jti)
        assert jti in blocklist

        def child() -> tuple[bool, bool]:
            later = new_id()
            blocklist.add(later)
            return later in blocklist, jti in blocklist

        assert in_a_child(child) == (True, True)
        blocklist.add(new_id())
        blocklist.close()


def test_a_server_that_demands_a_certificate_gets_it_for_everything(
    shared_server: Server, shared_client: Credentials, follow: Follow, tmp_path: Path
) -> None:
    certificate, ours, another = (a_certificate(tmp_path, holder) for holder in ("127.0.0.1", "shop", "another"))
    with speaking_tls(shared_server.port, certificate, demanded=ours) as url:
        trusting = {"ca_file": certificate, "certificate_file": ours}
        blocklist = follow(url, shared_client, **trusting, start_timeout=TEST_TIMEOUT)
        jti = new_id()
        blocklist.add(jti)
        assert jti in blocklist
        # The keys of the node are read over the same connection settings.
        with Verifier(blocklist=blocklist, issuer="adieu") as verifier:
            verifier.wait_ready(TEST_TIMEOUT)
            tokens = shared_server.log_in(new_id())
            assert verifier.verify(tokens["access_token"])["iss"] == "adieu"
        blocklist.close()

        for wrong in ({"ca_file": certificate}, {"ca_file": certificate, "certificate_file": another}):
            refused = follow(url, shared_client, **wrong, ready=False, start_timeout=0)
            with pytest.raises(UnavailableError):
                refused.add(new_id())
            eventually(lambda blocklist=refused: blocklist._follower.error is not None)  # type: ignore[misc]
            with pytest.raises(StaleError):
                jti in refused  # noqa: B015
            refused.close()


@pytest.mark.parametrize("how", ["ca_file", "ssl_context"])
def test_the_certificates_for_the_node_are_not_used_for_another_issuer(
    shared_server: Server, shared_client: Credentials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    certificate, ours, issuers = (a_certificate(tmp_path, holder) for holder in ("127.0.0.1", "shop", "issuer"))
    monkeypatch.setenv("SSL_CERT_FILE", str(issuers))
    trusting: dict[str, Any] = {"ca_file": certificate, "certificate_file": ours}
    if how == "ssl_context":
        trusting = {"ssl_context": ssl.create_default_context(cafile=str(certificate))}
        trusting["ssl_context"].load_cert_chain(ours)
    seen: list[object] = []
    with (
        speaking_tls(shared_server.port, certificate, demanded=ours) as url,
        a_node_that_answers(b'{"keys": []}') as published,
        speaking_tls(int(published.rpartition(":")[2]), issuers, demanded=ours, seen=seen) as keys_url,
        Verifier(
            url, shared_client.name, shared_client.secret, issuer="shop", keys_url=keys_url, **trusting
        ) as verifier,
    ):
        verifier.wait_ready(TEST_TIMEOUT)
        assert set(seen) == {None}


def test_a_node_that_requires_certificates_of_clients_gets_one(follow: Follow, tmp_path: Path) -> None:
    certificate, ours, another = (a_certificate(tmp_path, holder) for holder in ("127.0.0.1", "shop", "another"))
    settings = {"ADIEU_TLS_CERTIFICATE": str(certificate), "ADIEU_TLS_KEY": str(certificate)}
    settings["ADIEU_TLS_CLIENT_CA"] = str(ours)
    server = Server(tmp_path / "data", settings, tls=ssl.create_default_context(cafile=str(certificate)))
    server.start()
    try:
        client = server.add_client("shop")
        trusting = {"ca_file": certificate, "certificate_file": ours}
        blocklist = follow(server.url, client, **trusting, start_timeout=TEST_TIMEOUT)
        jti = new_id()
        blocklist.add(jti)
        assert jti in blocklist
        blocklist.close()

        without = follow(server.url, client, ca_file=certificate, ready=False, start_timeout=0)
        with pytest.raises(RefusedError, match="A client certificate is required"):
            without.add(new_id())
        without.close()
        wrong = follow(server.url, client, ca_file=certificate, certificate_file=another, ready=False, start_timeout=0)
        with pytest.raises(UnavailableError):
            wrong.add(new_id())
        wrong.close()
    finally:
        server.stop()


def test_certificates_that_can_not_be_read_are_refused_when_it_is_made(tmp_path: Path) -> None:
    certificate, empty = a_certificate(tmp_path), tmp_path / "empty.pem"
    empty.write_text("")
    place = ("https://127.0.0.1:1", "shop", "secret")
    unreadable: tuple[dict[str, Any], ...] = (
        {"ca_file": tmp_path / "missing.pem"},
        {"ca_file": empty},
        {"ca_file": certificate, "certificate_file": tmp_path / "missing.pem"},
        {"ca_file": certificate, "certificate_file": empty},
    )
    for options in unreadable:
        with pytest.raises(OSError):  # noqa: PT011
            Blocklist(*place, **options)
    with pytest.raises(ValueError, match="with ca_file"):
        Blocklist(*place, certificate_file=certificate)
    with pytest.raises(ValueError, match="with ssl_context"):
        Blocklist(*place, ca_file=certificate, ssl_context=ssl.create_default_context())


@pytest.mark.pure
@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://[::1]", ("::1", 80)),
        ("https://[fe80::12]/below", ("fe80::12", 443)),
        ("https://[::1]:8443", ("::1", 8443)),
        ("http://127.0.0.1", ("127.0.0.1", 80)),
        ("https://localhost/", ("localhost", 443)),
    ],
)
def test_an_address_needs_no_port(monkeypatch: pytest.MonkeyPatch, url: str, address: tuple[str, int]) -> None:
    asked: list[object] = []

    def refuse(address: object, *_: object, **__: object) -> None:
        asked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr("socket.create_connection", refuse)
    with pytest.raises(UnavailableError):
        Node(url, "shop", "secret", None).read({}, 1)
    with Blocklist.in_memory() as blocklist, Verifier(issuer="adieu", blocklist=blocklist, keys_url=url):
        eventually(lambda: len(asked) > 1)
    assert set(asked) == {address}


@pytest.mark.parametrize("port", ["0", "65536", "x", "-1"])
def test_a_port_that_can_not_be_is_refused_when_it_is_made(port: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Blocklist(f"http://127.0.0.1:{port}", "shop", "secret")
    with pytest.raises(ValueError):  # noqa: PT011
        Verifier("memory:", issuer="adieu", keys_url=f"http://127.0.0.1:{port}")


def test_nobody_unknown_gets_the_secret(
    shared_server: Server, shared_client: Credentials, follow: Follow, tmp_path: Path
) -> None:
    with speaking_tls(shared_server.port, a_certificate(tmp_path)) as url:
        blocklist = follow(url, shared_client, ready=False, start_timeout=0)
        with pytest.raises(UnavailableError, match="SSLCertVerificationError"):
            blocklist.add(new_id())
        with pytest.raises(StaleError):
            blocklist.wait_ready(0.1)
        blocklist.close()
