"""Verifies tokens in one call that never uses the network: signature, claims, revocation, staleness.

>>> from adieu import Verifier
>>> VERIFIER = Verifier("https://adieu.example.org", "shop", secret, issuer="adieu")  # doctest: +SKIP
>>> VERIFIER.verify(token)["sub"]                                                     # doctest: +SKIP
"jose"
"""

import base64
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from adieu.blocklist import Blocklist
from adieu.clock import SECOND, moment
from adieu.errors import StaleError, TokenError
from adieu.index import token_id_of

STALE = "revocation_state_stale"
"""The code of the checks below that stands for `StaleError`."""

MAX_TOKEN_BYTES = 8 * 1024
"""The default maximum length of a token, in bytes."""

_POLL = 0.005


class Claims(Mapping[str, Any]):
    """The claims of a verified token: its whole payload, as the issuer wrote it."""

    __slots__ = ("_payload", "kid", "token")

    def __init__(self, token: str, kid: str | None = None, payload: Mapping[str, Any] | None = None) -> None:
        self.token = token
        """The encoded token."""
        self.kid = kid
        """The id of the key that verified the token, as `Blocklist.on_revoked` expects it; none if the key has none."""
        self._payload = payload

    def _read(self) -> Mapping[str, Any]:
        if self._payload is None:
            encoded = self.token.split(".")[1]
            self._payload = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
        return self._payload

    def __getitem__(self, name: str) -> Any:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return f"Claims({self._read()!r})"

    @property
    def token_id(self) -> str:
        """The id of the token: ``jti``, or what stands for it."""
        jti = self.get("jti")
        return token_id_of(self.token) if jti is None else str(jti)


class IssuerMismatch(ValueError):  # noqa: N818
    """A token without ``iss`` would be of one issuer for the verifier, and of another for its blocklist."""


class Verifier:
    """Verifies the tokens of one issuer.

    - `url`, `client_id`, `secret` and any further `options` are those of `Blocklist`; or pass an existing `blocklist`.
      If `issuer` is not the node's, make it with the same `issuer`: it revokes under its own. With the profile
      ``"plain"``, a blocklist of another issuer raises `ValueError`: a token without ``iss`` would be two issuers'.
      For a blocklist without an `issuer`, that is known once the node has named its own.
      With another `subject_claim` than ``"sub"``, a token must have that claim, as a text, and need not have ``sub``.
    - `issuer` is the issuer that tokens must name, and that of what `blocklist` revokes.
    - `audience`: a token must be for one of these; without them, a token for an audience is rejected.
    - `leeway`: the accepted difference between the issuer's clock and this one in seconds, at most 60.
    - `max_lifetime`: how many seconds a token may live; one that lives longer is rejected. Set it to the `max_lifetime`
      of the issuer at the node, which keeps revocations for that long.
    - `max_token_bytes`: the maximum length of a token; a longer one is rejected before it is decoded.
    - `profile`: ``"rfc9068"`` requires ``iss``, ``sub``, ``jti``, and a header ``typ`` of ``at+jwt`` or ``rt+jwt``.
      ``"plain"`` accepts tokens as PyJWT, Flask-JWT-Extended and simplejwt make them, without ``iss``, ``jti`` or a
      kind; use it only if the key signs tokens of this issuer alone.
    - `key` and `algorithm`: a fixed key, as a secret or in PEM form. The id of a public key is its thumbprint (RFC
      7638), which a token with ``kid`` must name; a secret has no id. Without a key, the keys at `keys_url` are
      followed, by default those of the node; `algorithm` is then that of RSA keys that name none, by default RS256. A
      key is used with its own algorithm only, and a secret is never accepted from a URL.

    Without the compiled core, PyJWT is needed.
    """

    blocklist_class: type[Blocklist] = Blocklist

    def __init__(
        self,
        url: str | None = None,
        client_id: str | None = None,
        secret: str | None = None,
        *,
        issuer: str,
        audience: Sequence[str] = (),
        leeway: float = 0.0,
        max_lifetime: float | None = None,
        max_token_bytes: int = MAX_TOKEN_BYTES,
        profile: Literal["rfc9068", "plain"] = "rfc9068",
        key: str | bytes | None = None,
        algorithm: str | None = None,
        keys_url: str | None = None,
        blocklist: Blocklist | None = None,
        **options: Any,
    ) -> None:
        if profile not in ("rfc9068", "plain"):
            raise ValueError('profile must be "rfc9068" or "plain"')
        if isinstance(audience, str):
            raise TypeError(f"audience must be a sequence of names, such as ({audience!r},)")
        if not 0 <= leeway <= 60:
            raise ValueError("leeway must be between 0 and 60 seconds")
        if max_lifetime is not None and not 0 < max_lifetime < math.inf:
            raise ValueError("max_lifetime must be a positive number of seconds")
        if type(max_token_bytes) is not int or not 1 <= max_token_bytes <= sys.maxsize:
            raise ValueError("max_token_bytes must be a whole number, at least 1")
        self._issuer = issuer
        self._is_to_compare = blocklist is not None and profile == "plain"
        if blocklist is not None and self._is_to_compare:
            self._compare_issuers(blocklist)
        self._owns = blocklist is None
        if blocklist is None:
            blocklist = self.blocklist_class(url, client_id, secret, issuer=issuer, **options)
        self.blocklist = blocklist
        content = key.encode() if isinstance(key, str) else key
        self._check: Any = None
        try:
            self._check = self._checker(
                issuer,
                audience,
                leeway,
                max_lifetime,
                max_token_bytes,
                profile == "plain",
                content,
                algorithm,
                keys_url,
            )
        except BaseException:
            self.close()
            raise

    def _checker(  # noqa: PLR0917
        self,
        issuer: str,
        audience: Sequence[str],
        leeway: float,
        max_lifetime: float | None,
        max_token_bytes: int,
        lenient: bool,
        key: bytes | None,
        algorithm: str | None,
        keys_url: str | None,
    ) -> Any:
        core = self.blocklist._core
        if core is None:
            from adieu.pyjwt import Checker

            return Checker(
                self.blocklist,
                issuer,
                audience,
                leeway,
                max_lifetime,
                max_token_bytes,
                lenient,
                key,
                algorithm,
                keys_url,
            )
        import adieu_core

        return adieu_core.Verifier(
            core,
            issuer,
            looks_again=self.blocklist._looks_again,
            audience=list(audience),
            leeway=leeway,
            max_lifetime=max_lifetime,
            max_token_bytes=max_token_bytes,
            lenient=lenient,
            key=key,
            algorithm=algorithm,
            keys_url=keys_url,
            subject_claim=self.blocklist._subject_claim,
        )

    def verify(
        self,
        token: str | bytes | None,
        type: Literal["access", "refresh"] | None = "access",  # noqa: A002
    ) -> Claims:
        """Returns the claims of a token that is authentic, valid, of this type and not revoked.

        `type` is ``"access"``, ``"refresh"`` for the application's own refresh tokens, or none for either. Raises
        `TokenError`, whose `code` is stable, and `StaleError` if the revocations or the keys are not recent enough.
        `token` is None if the request has no token. A token without ``iss`` raises `ValueError` if the blocklist turns
        out to be of another issuer.
        """
        if token is None:
            token = ""
        if not isinstance(token, str):
            token = token.decode("ascii", "replace")
        verdict = self._check.verify(token, type)
        if not isinstance(verdict, tuple):
            claims = Claims(token, verdict)
            if self._is_to_compare and "iss" not in claims:
                self._compare_issuers(self.blocklist)
            return claims
        code, reason = verdict
        if code != STALE:
            raise TokenError(reason, code)
        # Right after the start, this waits for the first snapshot.
        if self.blocklist._follower.complete_at is None and self.blocklist._looks_again():
            return self.verify(token, type)
        raise self.blocklist._stale() if self._check.has_keys else self._without_keys()

    def _compare_issuers(self, blocklist: Blocklist) -> None:
        """Raises if the blocklist looks up and revokes tokens without ``iss`` under another issuer than this one."""
        of = blocklist._index.node_issuer if blocklist._issuer is None else blocklist._issuer
        if of is None:
            # The node has not named its issuer yet.
            return
        if of != self._issuer:
            raise IssuerMismatch(f"the blocklist must be made with issuer={self._issuer!r}, and its issuer is {of!r}")
        self._is_to_compare = False

    def _without_keys(self) -> StaleError:
        failure = self._check.keys_failure
        why = "" if failure is None else f": {failure}"
        return self.blocklist.stale_error(f"the keys of the issuer are not known{why}")

    @property
    def is_ready(self) -> bool:
        """Whether the keys are known and the revocations are recent enough; for a readiness probe."""
        return bool(self._check.has_keys) and self.blocklist.is_fresh

    def readiness(self) -> tuple[dict[str, Any], int]:
        """Returns what `Blocklist.readiness` does; also 503 while the keys are not known."""
        body, status = self.blocklist.readiness()
        return (body, status) if self._check.has_keys else ({**body, "status": "without keys"}, 503)

    def wait_ready(self, timeout: float) -> None:
        """Waits until the keys and the revocations are known; raises like `Blocklist.wait_ready`."""
        until = moment() + int(timeout * SECOND)
        self.blocklist.wait_ready(timeout)
        if self._is_to_compare:
            self._compare_issuers(self.blocklist)
        while not self._check.has_keys:
            left = (until - moment()) / SECOND
            if left <= 0:
                raise self._without_keys()
            if self.blocklist._core is None:
                self._check.read_keys(left)
            time.sleep(_POLL)

    def close(self) -> None:
        """Stops following the keys; also closes the blocklist, unless it was passed in.

        No token is accepted afterwards, except with a fixed key and a blocklist that was passed in.
        """
        if self._check is not None:
            self._check.close()
        if self._owns:
            self.blocklist.close()

    def __enter__(self) -> "Verifier":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
