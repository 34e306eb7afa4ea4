"""`adieu.verifier` without the compiled core: signatures are verified by PyJWT."""

import hmac
import http.client
import json
import math
import os
import re
import ssl
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from adieu import base64url, follower, kind
from adieu.acceptance import SKEW
from adieu.errors import InvalidClaimsError, StaleError
from adieu.follower import logger, uwsgi_forks_later
from adieu.index import NEVER, claims_of
from adieu.node import connection_to, limit_response, names_a_host

if TYPE_CHECKING:
    from adieu.blocklist import Blocklist
    from adieu.keys import Key

try:
    from jwt.algorithms import get_default_algorithms
except ImportError as missing:
    raise ImportError('a Verifier needs the compiled core, or PyJWT: pip install "adieu[fast]"') from missing

_MAX_DOCUMENT_BYTES = 256 * 1024
_TIMEOUT = 10.0
"""How many seconds a request for keys may take, with its whole response."""

_KEYS_INTERVAL = 300.0
"""How many seconds keys are used before the next request, unless the issuer says how long (``max-age``)."""

_MIN_MAX_AGE, _MAX_MAX_AGE = 60.0, 3600.0
"""The limits of what the issuer says."""

_MIN_KEYS_INTERVAL = 5.0
"""The minimum number of seconds between two requests, for an unknown key."""

_RETRY_INTERVAL = 0.25
"""The number of seconds between two requests while no keys are known."""

_MAX_UNCONFIRMED = 24 * 3600
"""How many seconds keys are used while no newer ones can be read."""

_MAX_KEYS_TRIED = 4
"""How many keys are tried for a token that names none."""

_ALGORITHMS = frozenset(
    ("HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
)
_NEWER_NAME = "Ed25519"
"""That of EdDSA with this curve (RFC 9864)."""

_SIGNATURES = get_default_algorithms()

_TYPES = {"at+jwt": "access", "rt+jwt": "refresh"}
_KINDS = {
    "access": "access",
    "access_token": "access",
    "refresh": "refresh",
    "refresh_token": "refresh",
    **_TYPES,
    # These name how a token is sent and its format, not its kind.
    "bearer": None,
    "jwt": None,
}
_REFUSED_PARAMETERS = frozenset(("crit", "b64", "jwk", "enc", "zip"))
_TEXT_PARAMETERS = ("alg", "kid", "typ", "cty", "jku", "nonce", "url", "x5t", "x5t#S256", "x5u")
_MAX_MEMBERS = 128
_MAX_DEPTH = 127

_Refusal = tuple[str, str]


class _InvalidError(Exception):
    """A token that is not accepted, with its code."""

    def __init__(self, reason: str, code: str = "invalid_token") -> None:
        super().__init__(reason)
        self.code = code


class Checker:
    """Has the interface of the verifier in the compiled core."""

    def __init__(  # noqa: PLR0917
        self,
        blocklist: "Blocklist",
        issuer: str,
        audience: Sequence[str],
        leeway: float,
        max_lifetime: float | None,
        max_token_bytes: int,
        lenient: bool,
        key: bytes | None,
        algorithm: str | None,
        keys_url: str | None,
    ) -> None:
        if algorithm == _NEWER_NAME:
            algorithm = "EdDSA"
        if algorithm is not None and algorithm not in _ALGORITHMS:
            raise ValueError(f"algorithm must be one of {', '.join(sorted(_ALGORITHMS))}")
        self._blocklist = blocklist
        self._issuer = issuer
        self._audience = frozenset(audience)
        # Rounded up, as in the compiled core: times are whole seconds.
        self._leeway = math.ceil(leeway)
        self._max_lifetime = math.inf if max_lifetime is None else math.ceil(max_lifetime)
        self._max_token_bytes = max_token_bytes
        self._lenient = lenient
        self._subject_claim = blocklist._subject_claim
        self._keys: _Keys | _Fixed
        if key is None:
            # The certificates in the settings of the node are for the node alone.
            self._keys = (
                _Keys(f"{blocklist.url.rstrip('/')}/.well-known/jwks.json", algorithm or "RS256", blocklist._node.tls)
                if keys_url is None
                else _Keys(keys_url, algorithm or "RS256", None)
            )
        elif algorithm is None:
            raise ValueError("a key needs its algorithm")
        else:
            self._keys = _Fixed(algorithm, key)
        # Takes no lock, because it may run while one is held. The thread ends when it wakes up.
        weakref.finalize(self, setattr, self._keys, "is_closed", True)

    @property
    def has_keys(self) -> bool:
        """Whether the keys are known."""
        return self._keys.are_known

    @property
    def keys_failure(self) -> str | None:
        """Why the keys are not known; none if they are."""
        return self._keys.failure

    def read_keys(self, timeout: float) -> None:
        """Reads the keys on the caller's thread, where no thread of their own runs."""
        self._keys.read_without_a_thread(timeout)

    def close(self) -> None:
        """Stops following the keys; a fixed key stays."""
        self._keys.close()

    def verify(self, token: str, type: str | None) -> _Refusal | str | None:  # noqa: A002
        """Returns the id of the key of a token that is accepted, if it has one; otherwise the code and the reason."""
        if type not in ("access", "refresh", None):
            raise ValueError('type must be "access", "refresh" or None')
        try:
            return self._accept(token, type)
        except _InvalidError as error:
            return error.code, str(error)
        # A nested header or claim may be too deep to be read.
        except (InvalidClaimsError, TypeError, ValueError, RecursionError) as error:
            return "invalid_token", str(error)
        except StaleError as error:
            return "revocation_state_stale", str(error)

    def _accept(self, token: str, type: str | None) -> str | None:  # noqa: A002
        if not token:
            raise _InvalidError("there is no token", "authorization_required")
        blocklist = self._blocklist
        header, payload, kid = self._authenticate(token)
        named = self._check(header, payload)
        ours = {**payload, "iss": self._issuer}
        if blocklist.is_revoked(ours, token, kid=kid):
            if self._is_known(ours, token, kid):
                raise _InvalidError("it was revoked", "token_revoked")
            # Its revocation may have been removed.
            raise _InvalidError("the token has expired", "token_expired")
        if type is not None and type != named:
            raise _InvalidError(f"expected a token of type `{type}`")
        return kid

    def _is_known(self, payload: Mapping[str, Any], token: str, kid: str | None) -> bool:
        """Returns whether a revocation in the index matches the token, whatever its expiry is."""
        claims = claims_of(payload, self._subject_claim, token, kid)
        return self._blocklist._index.is_revoked((*claims[:5], NEVER, *claims[6:]))

    def _authenticate(self, token: str) -> tuple[Mapping[str, Any], Mapping[str, Any], str | None]:
        """Returns the header and the payload of an authentic token, and the `kid` of the key that has signed it."""
        if len(token) > self._max_token_bytes:
            raise _InvalidError("the token is too long")
        header, content, signature = map(base64url.decode, token.split(".") if token.count(".") == 2 else ("", "", ""))
        named = _members(header)
        algorithm = _check_header(named)
        if not self._keys.are_known:
            raise StaleError("the keys of the issuer are not known")
        kid = named.get("kid")
        candidates = self._keys.candidates(algorithm, kid)
        signed = token.rpartition(".")[0].encode()
        for id_, _, key in candidates or ():
            if _verifies(algorithm, key, signed, signature):
                return named, _members(content), id_
        if candidates is None or kid is None:
            self._keys.missed()
        if candidates is None and not self._blocklist.is_fresh:
            raise StaleError("the keys may be out of date")
        raise _InvalidError("no key has signed the token")

    def _check(self, header: Mapping[str, Any], payload: Mapping[str, Any]) -> str:
        """Checks the claims, and returns the kind of the token."""
        subject = self._subject_claim
        if subject != "sub" and _is_ambiguous(payload):
            raise _InvalidError("a name appears twice in a claim")
        for claim in ("exp", subject) if self._lenient else ("exp", subject, "iss", "jti"):
            if claim not in payload:
                raise _InvalidError(f"the token lacks the claim `{claim}`")
        if "iss" in payload and payload["iss"] != self._issuer:
            raise _InvalidError("the token is from another issuer")
        # Older libraries write a number as `sub`.
        for claim in ("jti", "sid") if self._lenient and subject == "sub" else ("jti", "sid", subject):
            if claim in payload and not isinstance(payload[claim], str):
                raise _InvalidError(f"the token's claim `{claim}` is invalid")
        # Raises for ids that are too long, for example.
        claims_of(payload, subject)
        audience = payload.get("aud", [])
        names = [audience] if isinstance(audience, str) else audience
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise _InvalidError("the token's claim `aud` is invalid")
        if ("aud" in payload or self._audience) and self._audience.isdisjoint(names):
            raise _InvalidError("the token is not meant for this audience")
        named = self._kind(header, payload)
        times = {name: _seconds(name, payload[name]) for name in ("iat", "nbf", "exp") if name in payload}
        if not isinstance(payload.get("fresh", False), bool):
            _seconds("fresh", payload["fresh"])
        now = int(time.time())
        if times["exp"] > times.get("iat", now) + self._max_lifetime:
            raise _InvalidError("the token lives too long")
        if max(times.get("iat", 0), times.get("nbf", 0)) > now + max(self._leeway, SKEW):
            raise _InvalidError("the token is not valid yet", "token_not_yet_valid")
        if now >= times["exp"] + self._leeway:
            raise _InvalidError("the token has expired", "token_expired")
        return named

    def _kind(self, header: Mapping[str, Any], payload: Mapping[str, Any]) -> str:
        """Returns the kind of the token, on which header and claims must agree."""
        typ = _lower(header.get("typ", "jwt")).removeprefix("application/")
        named = {_KINDS.get(_lower(payload[claim]), "") for claim in kind.CLAIMS if claim in payload}
        named |= {_TYPES.get(typ)}
        named -= {None}
        is_declared = typ in _TYPES or (self._lenient and typ == "jwt")
        if not is_declared or len(named) > 1 or not named <= {"access", "refresh"}:
            raise _InvalidError("the token's `typ` is not one that is accepted")
        return next(iter(named), None) or "access"


class _Fixed:
    """One key that does not change. A public key has an id, its thumbprint; a secret has none."""

    are_known = True
    failure = None

    def __init__(self, algorithm: str, key: bytes) -> None:
        self._key: Key
        if not algorithm.startswith("HS"):
            from adieu.keys import of_pem

            self._key = of_pem(algorithm, key)
            return
        smallest = int(algorithm[2:]) // 8
        if len(key) < smallest:
            raise ValueError(f"a secret for {algorithm} must have at least {smallest} bytes")
        # Otherwise a public key would be taken for a secret, and who knows it could sign.
        if b"-----BEGIN " in key:
            raise ValueError(f"key must be a secret for {algorithm}, and is in PEM form")
        self._key = (None, algorithm, key)

    def candidates(self, algorithm: str, kid: str | None) -> "list[Key] | None":
        """Like `_Keys.candidates`."""
        if kid is not None and kid != self._key[0]:
            return None
        return [self._key] if algorithm == self._key[1] else []

    def missed(self) -> None:
        """Does nothing: the key does not change."""

    def read_without_a_thread(self, timeout: float) -> None:
        """Does nothing: the key is known."""

    def close(self) -> None:
        """Does nothing: there is no thread."""


class _Keys:
    """The keys that an issuer publishes, read by a thread of their own in each process."""

    def __init__(self, url: str, rsa: str, tls: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        if not names_a_host(parts) or parts.username is not None:
            raise ValueError("keys_url must begin with http:// or https:// and name a host, without credentials")
        from adieu.keys import of_document

        self._of_document = of_document
        self._parts = parts
        self._rsa = rsa
        self._tls = tls or (ssl.create_default_context() if parts.scheme == "https" else None)
        self._known: list[Key] | None = None
        self._age = _KEYS_INTERVAL
        self.failure: str | None = None
        """Why the keys are not known; none if they are."""
        self.is_closed = False
        self._begin(with_thread=not uwsgi_forks_later())

    @property
    def are_known(self) -> bool:
        """Whether the keys were read, and are followed."""
        if self.is_closed:
            return False
        if self._is_to_begin():
            with follower.beginning:
                if self._is_to_begin():
                    self._begin(with_thread=True)
        return self._known is not None

    def _is_to_begin(self) -> bool:
        return self._process != os.getpid() or (self._thread is None and not uwsgi_forks_later())

    def candidates(self, algorithm: str, kid: str | None) -> "list[Key] | None":
        """Returns the keys that may have signed a token; none if it names a key that is not known."""
        named = [entry for entry in self._known or () if kid in (entry[0], None)]
        if not named and kid is not None:
            return None
        return [entry for entry in named if entry[1] == algorithm][:_MAX_KEYS_TRIED]

    def missed(self) -> None:
        """Reads the keys again soon, because a newer one may have signed a token."""
        self._missed.set()

    def close(self) -> None:
        """Ends the thread. The keys are not known any more, because nothing says when the issuer removes one."""
        self.is_closed = True
        self._closing.set()
        self._missed.set()

    def _begin(self, *, with_thread: bool) -> None:
        self._missed = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        if with_thread:
            self._thread = threading.Thread(target=self._follow, args=(os.getpid(),), name="adieu-keys", daemon=True)
            self._thread.start()
        # At last, because other threads look at it.
        self._process = os.getpid()

    def read_without_a_thread(self, timeout: float) -> None:
        """Reads the keys on the caller's thread, if uWSGI loads the application: see `adieu.follower.Follower`."""
        if self._thread is not None or self.is_closed:
            return
        try:
            self._known, self.failure = self._read(min(timeout, _TIMEOUT)), None
        except Exception as error:  # noqa: BLE001  The caller tries again.
            self.failure = f"{type(error).__name__}: {error}"
            self._closing.wait(min(timeout, _RETRY_INTERVAL))

    def _follow(self, process: int) -> None:
        confirmed_at, failed = time.monotonic(), False
        while process == os.getpid() and not self.is_closed:
            try:
                self._known = self._read(_TIMEOUT)
                confirmed_at, failed, self.failure = time.monotonic(), False, None
            except Exception as error:  # noqa: BLE001  If the thread ended, no newer key would ever be known.
                why = f"{type(error).__name__}: {error}"
                if not failed:
                    logger.warning("the issuer's keys can't be read: %s; known keys stay valid", why)
                failed = True
                if time.monotonic() - confirmed_at > _MAX_UNCONFIRMED:
                    self._known = None
                self.failure = why if self._known is None else None
            self._closing.wait(_RETRY_INTERVAL if self._known is None else _MIN_KEYS_INTERVAL)
            self._missed.wait(0 if failed else self._age - _MIN_KEYS_INTERVAL)
            self._missed.clear()

    def _read(self, timeout: float) -> "list[Key]":
        connection = connection_to(self._parts, timeout, self._tls)
        limit_response(connection, time.monotonic() + timeout)
        try:
            target = self._parts.path + (f"?{self._parts.query}" if self._parts.query else "")
            connection.request("GET", target, headers={"Accept": "application/jwk-set+json, application/json"})
            response = connection.getresponse()
            content = response.read(_MAX_DOCUMENT_BYTES + 1)
            if response.status != http.client.OK or len(content) > _MAX_DOCUMENT_BYTES:
                raise OSError(f"status {response.status}")
            directives = response.getheader("Cache-Control", "")
        finally:
            connection.close()
        keys = self._of_document(content, self._rsa)
        self._age = _age(directives)
        return keys


def _age(directives: str) -> float:
    """Returns ``max-age`` (RFC 9111 section 5.2.2.1), within limits."""
    for directive in directives.split(","):
        said = re.fullmatch("max-age=([0-9]{1,19})", directive.strip())
        if said:
            return min(max(float(said[1]), _MIN_MAX_AGE), _MAX_MAX_AGE)
    return _KEYS_INTERVAL


class _Members(dict[str, Any]):
    """A JSON object, and whether a name in it occurs twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.repeats = len(self) != len(pairs)


def _verifies(algorithm: str, key: Any, signed: bytes, signature: bytes) -> bool:
    if algorithm.startswith("HS"):
        return hmac.compare_digest(hmac.digest(key, signed, f"sha{algorithm[2:]}"), signature)
    return _SIGNATURES[algorithm].verify(signed, key, signature)


def _members(content: bytes) -> Mapping[str, Any]:
    """Reads a JSON object as strictly as the compiled core does."""
    members = json.loads(
        content.decode(), object_pairs_hook=_Members, parse_constant=_finite, parse_float=_finite, parse_int=_integer
    )
    if not isinstance(members, _Members) or members.repeats or len(members) > _MAX_MEMBERS or _is_deep(members):
        raise _InvalidError("the token is malformed")
    if rb"\u" in content:
        # Raises for half a character.
        json.dumps(members, ensure_ascii=False).encode()
    return members


def _is_deep(value: object, left: int = _MAX_DEPTH) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    return left == 0 or any(
        _is_deep(inner, left - 1) for inner in (value.values() if isinstance(value, dict) else value)
    )


def _is_ambiguous(value: object) -> bool:
    """Returns whether a name occurs twice at any depth: two parsers could read different subjects there."""
    if isinstance(value, _Members):
        return value.repeats or any(map(_is_ambiguous, value.values()))
    return isinstance(value, list) and any(map(_is_ambiguous, value))


def _check_header(header: Mapping[str, Any]) -> str:
    """Checks the parameters, and returns the algorithm."""
    if not _REFUSED_PARAMETERS.isdisjoint(header):
        raise _InvalidError("the token requires an extension that is not supported")
    texts = [header[name] for name in _TEXT_PARAMETERS if name in header] + _list(header.get("x5c", []))
    if not all(isinstance(text, str) for text in texts):
        raise _InvalidError("a header parameter has the wrong type")
    named = header.get("alg", "")
    algorithm: str = "EdDSA" if named == _NEWER_NAME else named
    if algorithm not in _ALGORITHMS:
        raise _InvalidError("the token has no algorithm that is accepted")
    return algorithm


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [None]


def _lower(value: Any) -> str:
    # ASCII only: some other letters have an ASCII letter as their lower case.
    return value.lower() if isinstance(value, str) and value.isascii() else ""


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is out of range")
    return number


def _integer(text: str) -> int:
    _finite(text)
    return int(text)


def _seconds(name: str, value: Any) -> int:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 253_402_300_799:
        return int(value)
    raise _InvalidError(f"the token's claim `{name}` is invalid")
