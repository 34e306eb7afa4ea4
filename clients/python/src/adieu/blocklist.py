"""The set of revoked tokens that every process shares."""

import math
import ssl
import time
import weakref
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, NoReturn

from adieu.clock import SECOND, moment
from adieu.errors import RefusedError, StaleError, UnavailableError
from adieu.follower import NEVER_COMPLETE, Follower, stale
from adieu.index import KEPT_AFTER_EXPIRY, NEVER, Claims, Index
from adieu.node import Node


class Blocklist:
    """A drop-in for the set in which an application remembers the ids of logged-out tokens.

    ``jti in blocklist`` and `is_revoked` look into this process's memory, which a thread keeps up to date from the node
    at `url`. `add` and `revoke` return when the node has the revocation on stable storage, and this process knows it.

    - `client_id` and `secret` are what ``adieu client add NAME --can follow,revoke`` was given and printed.
    - `issuer` says whose the tokens are that do not say so themselves (no ``iss``), and whose ids ``in`` and `add`
      mean. The default is the node's own issuer.
    - `max_staleness`: so many seconds after a logout was answered anywhere, it is known here, or `when_stale` applies.
      Must not be greater than the node's own.
    - `when_stale`: ``"refuse"`` raises `StaleError`; ``"accept"`` goes on with what is known, and then the bound no
      longer holds.
    - `start_timeout`: for so many seconds after the start (or a fork) a look-up waits for the first snapshot before it
      counts as stale; `max_staleness` unless set. 0 never waits.
    - `lifetime`: how many seconds a token of the application lives at most. It says how long to keep what is added
      without `exp`; unless set, as long as any token of the node.
    - `timeout`: how many seconds `add` and `revoke` wait for the node.
    - `subject_claim`: which claim names the user.
    - `ssl_context`: for https; `ssl.create_default_context()` unless set.
    """

    stale_error: type[StaleError] = StaleError
    unavailable_error: type[UnavailableError] = UnavailableError

    def __init__(
        self,
        url: str,
        client_id: str,
        secret: str,
        *,
        issuer: str | None = None,
        max_staleness: float = 2.0,
        when_stale: Literal["refuse", "accept"] = "refuse",
        start_timeout: float | None = None,
        lifetime: float | None = None,
        timeout: float = 5.0,
        subject_claim: str = "sub",
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        if when_stale not in ("refuse", "accept"):
            raise ValueError('when_stale must be "refuse" or "accept"')
        if not (0.1 <= max_staleness <= 86_400):
            raise ValueError("max_staleness must be between 0.1 and 86400 seconds")
        if not (timeout > 0 and math.isfinite(timeout)):
            raise ValueError("timeout must be more than 0 seconds")
        if lifetime is not None and not (lifetime > 0 and math.isfinite(lifetime)):
            raise ValueError("lifetime must be more than 0 seconds")
        self.url = url
        self.client_id = client_id
        self.max_staleness = max_staleness
        self._issuer = issuer
        self._when_stale = when_stale
        self._start_timeout = int((max_staleness if start_timeout is None else start_timeout) * SECOND)
        self._lifetime = lifetime
        self._timeout = timeout
        self._subject_claim = subject_claim
        self._index = Index(issuer)
        self._tokens = self._index.own.tokens.lapses
        self._bound = int(max_staleness * SECOND)
        self._node = Node(url, client_id, secret, ssl_context)
        self._follower = Follower(self._node, self._index, max_staleness, accepts_when_stale=when_stale == "accept")
        self._finalizer = weakref.finalize(self, self._follower.close)
        # At exit the thread goes with the process; nobody is to wait for its connection.
        self._finalizer.atexit = False

    def __contains__(self, jti: object) -> bool:
        """Whether the token with this id was revoked by its id. Raises `StaleError` when that can't be known."""
        # When the index was complete is asked before it is, and what time it is after: a pause between the two counts.
        complete_at = self._follower.complete_at
        if jti in self._tokens:
            return True
        if moment() - complete_at > self._bound and self._wait_for_the_first_snapshot():
            return jti in self
        if jti.__class__ is not str:
            raise TypeError("the id of a token is text")
        return False

    def is_revoked(self, payload: Mapping[str, Any]) -> bool:
        """Whether the token with this decoded payload has ended.

        By its id, with its session (access tokens only), with everything of its user, or with everything of its issuer
        up to a time. A token without ``iss`` is taken for one of `issuer`. Raises `StaleError` when it can't be known,
        and `TypeError` at claims of a wrong type.
        """
        claims = Claims(payload, self._subject_claim)
        complete_at = self._follower.complete_at
        if self._index.is_revoked(claims):
            return True
        if moment() - complete_at > self._bound and self._wait_for_the_first_snapshot():
            return self.is_revoked(payload)
        return False

    def add(self, jti: str, *, exp: float | None = None, keep_until: float | None = None) -> None:
        """Revokes the token with this id. Durable when it returns, and known to this process.

        `exp` is the token's, exactly; or `keep_until` is a time by which it has certainly expired. Raises
        `UnavailableError` when the node can't be reached or can't write, and `RefusedError` when it will not.
        """
        self._revoke([self._token(jti, self._issuer, exp, keep_until)])

    def update(self, jtis: Iterable[str]) -> None:
        """Revokes all tokens with these ids; as `add` for each, with fewer requests."""
        self._revoke([self._token(jti, self._issuer, None, None) for jti in jtis])

    def revoke(self, payload: Mapping[str, Any]) -> None:
        """Logs the token with this decoded payload out: the token, and its session when it has one (``sid``).

        Raises as `add`, and `ValueError` when the payload has neither ``jti`` nor ``sid``.
        """
        claims = Claims(payload, self._subject_claim)
        issuer = claims.issuer if claims.issuer is not None else self._issuer
        revocations = []
        if claims.token_id is not None:
            revocations.append(self._token(claims.token_id, issuer, claims.expires_at, None))
        if claims.session is not None:
            revocations.append(self._wider(issuer, session=claims.session))
        if not revocations:
            raise ValueError("a token without jti and sid can't be revoked by its payload")
        self._revoke(revocations)

    def revoke_subject(self, subject: str) -> None:
        """Ends everything of a user that was issued until now, say after a change of the password.

        Durable when it returns, and known to this process, for which it waits a part of the bound. Raises as `add`; a
        token that is issued in the same second is revoked with the others.
        """
        self._revoke([self._wider(self._issuer, subject=_text(subject))])
        # Only the node knows which second that is.
        answered_at = moment()
        if not self._follower.wait_complete(answered_at, answered_at + int(self._timeout * SECOND)):
            raise self.unavailable_error("the revocation is durable, but was not heard of here in time")

    def wait_ready(self, timeout: float | None = None) -> None:
        """Waits until the first snapshot is there.

        Raises `StaleError` when it is not there in time, and `RefusedError` as soon as the node refuses to give it.
        """
        until = None if timeout is None else moment() + int(timeout * SECOND)
        if not self._follower.wait_ready(until):
            error = self._follower.error
            raise error if isinstance(error, RefusedError) else self._stale()

    @property
    def staleness(self) -> float | None:
        """How many seconds ago the memory was certainly complete; none before the first snapshot."""
        complete_at = self._follower.complete_at
        return None if complete_at == NEVER_COMPLETE else (moment() - complete_at) / SECOND

    @property
    def is_fresh(self) -> bool:
        """Whether a look-up can be answered within the bound; for a readiness probe."""
        return moment() - self._follower.complete_at <= self._bound

    def close(self) -> None:
        """Stops following. Whatever is asked afterwards is answered as when nothing is heard of the node."""
        self._finalizer()

    def __enter__(self) -> "Blocklist":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        """How many ids of tokens are remembered."""
        return len(self._tokens)

    def __bool__(self) -> bool:
        """Always true: an empty one is still asked."""
        return True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.client_id} at {self.url}, {len(self)} ids>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Blocklist holds a secret and a thread; make one where it is needed")

    def _wait_for_the_first_snapshot(self) -> bool:
        """For a look-up that met a stale index: whether to look again. Raises when it is to be refused."""
        follower = self._follower
        if follower.complete_at == NEVER_COMPLETE:
            until = follower.started_at + self._start_timeout
            if moment() < until and follower.wait_ready(until):
                return True
        if self._when_stale == "accept":
            return False
        raise self._stale()

    def _stale(self) -> StaleError:
        return stale(self._follower, self.max_staleness, self.stale_error)

    def _token(self, jti: str, issuer: str | None, exp: float | None, keep_until: float | None) -> dict[str, Any]:
        revocation = _of(issuer, token_id=_text(jti))
        if exp is not None:
            # Down, as the node reads it: it is looked up there by this second.
            revocation["expires_at"] = math.floor(exp)
        elif keep_until is not None:
            revocation["keep_until"] = math.ceil(keep_until)
        elif self._lifetime is not None:
            revocation["keep_until"] = math.ceil(time.time() + self._lifetime)
        return revocation

    def _wider(self, issuer: str | None, **what: str) -> dict[str, Any]:
        revocation = _of(issuer, **what)
        node_issuer = self._index.node_issuer
        # Of its own sessions and users the node knows better.
        if self._lifetime is not None and issuer is not None and node_issuer is not None and issuer != node_issuer:
            revocation["keep_until"] = math.ceil(time.time() + self._lifetime)
        return revocation

    def _revoke(self, revocations: list[dict[str, Any]]) -> None:
        try:
            self._node.revoke(revocations, self._timeout)
        except UnavailableError as error:
            raise self.unavailable_error(str(error)) from error
        with self._index.lock:
            for revocation in revocations:
                facts = self._index.of(revocation.get("issuer"))
                if "token_id" in revocation:
                    known = revocation.get("expires_at", revocation.get("keep_until"))
                    lapses_at = NEVER if known is None else known + KEPT_AFTER_EXPIRY
                    facts.tokens.put_until_told(revocation["token_id"], lapses_at)
                elif "session" in revocation:
                    facts.sessions.put_until_told(revocation["session"], NEVER)


def _of(issuer: str | None, **what: str) -> dict[str, Any]:
    return dict(what) if issuer is None else {**what, "issuer": issuer}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("the id of a token or a user is text")
    return value
