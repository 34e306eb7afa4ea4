"""The set of revoked tokens that every process shares."""

import math
import secrets
import ssl
import time
import weakref
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, NoReturn

from adieu.clock import SECOND, moment
from adieu.errors import RefusedError, StaleError, UnavailableError
from adieu.follower import OFFSET, Follower, logger, stale
from adieu.index import KEPT_AFTER_EXPIRY, NEVER, Claims, Index, claims_of
from adieu.node import Node

_MARK_KEPT = 60
"""For how many seconds it is remembered who used a token up."""

_WAIT_FOR_MARK_MS = 20
"""How long a node may hold back an answer that does not have the mark yet."""

_MOST_AHEAD = 61.0
"""How many seconds ahead of the clock of a node a cut-off is over at the latest."""


class Blocklist:
    """Knows which tokens have been revoked, and revokes them.

    `is_revoked` and ``jti in blocklist`` look into this process's memory, which a thread keeps up to date from the
    node at `url`. `revoke` and `add` return when the node has the revocation on stable storage, and this process knows.

    - `client_id` and `secret` are what ``adieu client add NAME --can follow,revoke`` was given and printed. A byte
      order mark and the end of a line, as files have them, are not part of the secret.
    - `issuer` says whose the tokens are that do not say so themselves (no ``iss``), and whose ids ``in`` and `add`
      mean. The default is the node's own issuer.
    - `max_staleness`: so many seconds after a logout was answered anywhere, it is known here, or `when_stale` applies.
      Must not be greater than the node's own.
    - `when_stale`: ``"refuse"`` raises `StaleError`; ``"accept"`` goes on with what is known, and then the bound no
      longer holds. Before the first snapshot nothing is known, so that `StaleError` is raised in any case.
    - `start_timeout`: for so many seconds after the start (or a fork) a look-up waits for the first snapshot before it
      counts as stale; `max_staleness` unless set. 0 never waits.
    - `lifetime`: how many seconds a token of the application lives at most. It says how long to keep what is added
      without `exp`; unless set, as long as any token of the node.
    - `timeout`: how many seconds `revoke` and `add` wait for the node.
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
        self._limit = self._bound - OFFSET
        self._node = Node(url, client_id, secret, ssl_context)
        self._follower = Follower(self._node, self._index, max_staleness, accepts_when_stale=when_stale == "accept")
        self._complete_at = self._follower.stamp
        self._finalizer = weakref.finalize(self, self._follower.close)
        # At exit the thread goes with the process; nobody is to wait for its connection.
        self._finalizer.atexit = False

    def __contains__(self, jti: object) -> bool:
        """Returns whether the token with this id was revoked by its id alone.

        A logout at the node is the end of a session, so of a token of the node ask `is_revoked`. Raises `StaleError`
        when it can't be known.
        """
        # When the index was complete is asked before it is, and what time it is after: a pause between the two counts.
        complete_at = self._complete_at[0]
        if jti in self._tokens:
            return True
        if moment() - complete_at > self._limit and self._looks_again():
            return jti in self
        if jti.__class__ is not str:
            raise TypeError("the id of a token is text")
        return False

    def is_revoked(self, payload: Mapping[str, Any], token: str | bytes | None = None) -> bool:
        """Returns whether the token with this decoded payload has been revoked.

        By its id, with its session, with everything of its user, or with everything of its issuer up to a time. A token
        without ``iss`` is taken for one of `issuer`. A token without ``jti`` is known by what is signed: give the
        encoded `token` as well.

        Raises `StaleError` when it can't be known, `InvalidClaimsError` at a payload that the node would reject, and
        `TypeError` without ``jti`` and `token`.
        """
        claims = claims_of(payload, self._subject_claim, token)
        complete_at = self._complete_at[0]
        if self._index.is_revoked(claims):
            return True
        if moment() - complete_at > self._limit and self._looks_again():
            return self.is_revoked(payload, token)
        return False

    def add(self, jti: str, *, exp: float | None = None, keep_until: float | None = None) -> None:
        """Revokes the token with this id. Durable when it returns, and known to this process.

        `exp` is the token's; or `keep_until` is a time by which it has certainly expired. Raises
        `UnavailableError` when the node can't be reached or can't write, and `RefusedError` when it will not.
        """
        self._revoke([self._token(jti, self._issuer, exp, keep_until)])

    def update(self, jtis: Iterable[str]) -> None:
        """Revokes all tokens with these ids; as `add` for each, with fewer requests."""
        if isinstance(jtis, (str, bytes, Mapping)) or not isinstance(jtis, Iterable):
            raise TypeError(f"several ids of tokens are needed, got {type(jtis).__name__}")
        self._revoke([self._token(jti, self._issuer, None, None) for jti in jtis])

    def revoke(
        self, payload: Mapping[str, Any], token: str | bytes | None = None, *, keep_until: float | None = None
    ) -> None:
        """Logs the token with this decoded payload out: the token, and its whole session when it has one (``sid``).

        A token without ``jti`` and ``sid`` is known by what is signed: give the encoded `token` as well. `keep_until`,
        as in `add`, is for a token whose ``exp`` moves on. Raises as `add`, and `TypeError` when the token is missing.
        """
        issuer, token_id, session, _, _, expires_at = claims_of(payload, self._subject_claim, token)
        issuer = issuer if issuer is not None else self._issuer
        revocations = []
        if token_id is not None:
            exp = expires_at if keep_until is None else None
            revocations.append(self._token(token_id, issuer, exp, keep_until))
        if session is not None:
            revocations.append(self._wider(issuer, session=session))
        if not revocations:
            raise TypeError("a token without jti and sid is known by itself: give it as token")
        self._revoke(revocations)

    def revoke_once(self, payload: Mapping[str, Any], token: str | bytes | None = None) -> bool:
        """Uses a token up: revokes it alone, and returns whether this call did it.

        Of any number of calls for one token, in all processes and at all nodes, one returns true. So a refresh token
        of the application is good for one time. Durable when it returns; raises as `is_revoked` and `add`.
        """
        # Whatever is before the cursor is in the memory that is asked after it.
        cursor = self._follower.cursor
        if self.is_revoked(payload, token):
            return False
        claims = claims_of(payload, self._subject_claim, token)
        issuer, token_id, _, _, _, expires_at = claims
        issuer = issuer if issuer is not None else self._issuer
        # The log has one order, and what is sent together is together there. So whoever finds nothing about the token
        # between the cursor and its own revocation, which is the one right before its mark, was the first.
        mark = secrets.token_urlsafe(24)
        used = self._token(_text(token_id), issuer, expires_at, None)
        self._revoke([used, self._token(mark, issuer, None, time.time() + _MARK_KEPT)])
        return not self._revoked_before(mark, claims, cursor)

    def revoke_subject(self, subject: str | int) -> None:
        """Ends everything of a user that was issued until now, say after a change of the password.

        Durable when it returns, and known to this process. It returns once the second of the cut-off is over by the
        clock of this machine, so that a token that is issued afterwards is good; for an issuer other than the node that
        is after the seconds that its clock may be ahead: 3 unless the node has it otherwise, a minute at most. Raises
        as `add`.
        """
        name = _text(str(subject) if subject.__class__ is int else subject)
        self._revoke([self._wider(self._issuer, subject=name)])
        # Only the node knows which second that is.
        answered_at = moment()
        if not self._follower.wait_complete(answered_at, answered_at + int(self._timeout * SECOND)):
            raise self.unavailable_error("the revocation is durable, but was not heard of here in time")
        with self._index.lock:
            second = self._index.of(self._issuer).cut_offs.get(name, 0)
        self._wait_until_past(second)

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
        return None if complete_at is None else (moment() - complete_at) / SECOND

    @property
    def is_fresh(self) -> bool:
        """Whether a look-up can be answered within the bound; for a readiness probe."""
        complete_at = self._follower.complete_at
        return complete_at is not None and moment() - complete_at <= self._bound

    def close(self) -> None:
        """Stops following. Whatever is asked afterwards is answered as when nothing is heard of the node."""
        self._finalizer()
        self._follower.join()

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

    def _looks_again(self) -> bool:
        """For a look-up that met a stale index: whether to look again. Raises when it is to be refused."""
        follower = self._follower
        if follower.complete_at is None:
            until = follower.started_at + self._start_timeout
            if moment() < until and follower.wait_ready(until):
                return True
        # To go on with what is known, something must be.
        if self._when_stale == "accept" and follower.has_read_all:
            return False
        raise self._stale()

    def _revoked_before(self, mark: str, claims: Claims, cursor: str | None) -> bool:
        """Whether the log has something about a token between a cursor and the entry right before a mark."""
        until = moment() + int(self._timeout * SECOND)
        earlier, last = Index(self._issuer), None
        query: dict[str, str | int] = {"wait": 0}
        while moment() < until:
            if cursor is not None:
                query["after"] = cursor
            try:
                page = self._node.read(query, self._timeout)
            except UnavailableError as error:
                raise self.unavailable_error(str(error)) from error
            earlier.name_node(page.issuer)
            for entry in page.entries:
                if entry.get("id") == mark:
                    return earlier.is_revoked(claims)
                if last is not None:
                    earlier.extend([last])
                last = entry
            cursor = page.cursor
            query["wait"] = _WAIT_FOR_MARK_MS
        raise self.unavailable_error("the token is used up, but by whom was not heard of in time")

    def _wait_until_past(self, second: int) -> None:
        # No cut-off reaches further, so the rest is what the clocks disagree by.
        until = moment() + int((_MOST_AHEAD + self._timeout) * SECOND)
        while (left := second + 1 - time.time()) > 0:
            if moment() > until:
                logger.warning(
                    "tokens that are issued in the next %d s by the clock here are revoked with the rest", left
                )
                return
            time.sleep(min(left, 0.1))

    def _stale(self) -> StaleError:
        return stale(self._follower, self.max_staleness, self.stale_error)

    def _token(self, jti: str, issuer: str | None, exp: float | None, keep_until: float | None) -> dict[str, Any]:
        revocation = _of(issuer, token_id=_text(jti))
        for name, value in (("exp", exp), ("keep_until", keep_until)):
            is_date = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if value is not None and not is_date:
                raise TypeError(f"{name} must be seconds since 1970, got {value!r:.40}")
        if exp is not None:
            # Not as `expires_at`, by which the node would look the token up: it is found whatever was said here.
            revocation["keep_until"] = math.floor(exp)
        elif keep_until is not None:
            revocation["keep_until"] = math.ceil(keep_until)
        elif self._lifetime is not None:
            revocation["keep_until"] = math.ceil(time.time() + self._lifetime)
        return revocation

    def _wider(self, issuer: str | None, **what: str) -> dict[str, Any]:
        revocation = _of(issuer, **what)
        node_issuer = self._index.node_issuer
        # Of its own users the node knows better, and of the sessions that it has.
        is_foreign = issuer is not None and node_issuer is not None and issuer != node_issuer
        if self._lifetime is not None and ("session" in what or is_foreign):
            revocation["keep_until"] = math.ceil(time.time() + self._lifetime)
        return revocation

    def _revoke(self, revocations: list[dict[str, Any]]) -> None:
        self._follower.run_here()
        try:
            self._node.revoke(revocations, self._timeout)
        except UnavailableError as error:
            raise self.unavailable_error(str(error)) from error
        with self._index.lock:
            for revocation in revocations:
                facts = self._index.of(revocation.get("issuer"))
                if "token_id" in revocation:
                    known = revocation.get("keep_until")
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
