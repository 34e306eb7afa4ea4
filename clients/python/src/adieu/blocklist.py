"""The set of revoked tokens that every process shares."""

import math
import os
import secrets
import ssl
import time
import weakref
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from adieu.backend import core_for, looked_up_by_core
from adieu.clock import SECOND, moment
from adieu.core import CoreFollower, CoreIndex
from adieu.errors import InvalidClaimsError, RefusedError, StaleError, UnavailableError
from adieu.follower import OFFSET, Follower, logger, stale
from adieu.hooks import Hooks
from adieu.index import BadFactError, Claims, Index, claim_text, claims_of
from adieu.memory import MemoryNode
from adieu.node import Node

if TYPE_CHECKING:
    from adieu_core import Core
    from typing_extensions import Self

_MARK_KEPT = 60
"""How many seconds the mark of a caller that used a token up is kept."""

_WAIT_FOR_MARK_MS = 20
"""How long the node may hold a request while the feed does not have the mark yet."""

IN_MEMORY = "memory:"
"""The URL of a blocklist without a server."""

_MOST_AHEAD = 61.0
"""The maximum number of seconds from the node's clock to the end of a cut-off."""


@looked_up_by_core
class Blocklist:
    """Knows which tokens have been revoked, and revokes tokens.

    `is_revoked` and ``jti in blocklist`` are lookups in this process's memory, which a thread keeps up to date from the
    node at `url`. `revoke` and `add` return when the revocation is on the node's stable storage and in this memory.

    Without these arguments, they are the environment variables ADIEU_URL, ADIEU_CLIENT, and ADIEU_SECRET, or the
    content of the file that ADIEU_SECRET_FILE names.

    - `client_id` and `secret` are the name passed to ``adieu client add NAME --capabilities follow,revoke`` and the
      secret that it printed. A byte order mark and a line ending, as files have them, are removed from the secret.
    - `issuer` is the issuer of tokens without ``iss``, and of the ids in ``in`` and `add`. By default the node's own.
    - `max_staleness`: the bound in seconds. Within this time after a logout was answered anywhere, the memory has it,
      or `stale_policy` applies. At most the node's own.
    - `stale_policy`: past the bound, ``"reject"`` raises `StaleError`; ``"accept"`` continues with the known
      revocations, and the bound no longer holds. Before the first snapshot, both raise `StaleError`.
    - `start_timeout`: how many seconds after the start (or a fork) a lookup waits for the first snapshot before the
      memory counts as stale; `max_staleness` by default. 0 never waits.
    - `stale_timeout`: how many seconds a lookup waits for news if the memory is stale. For processes that are frozen
      between requests, as on serverless platforms: the first lookup after that finds old news only.
    - `lifetime`: the maximum lifetime of the application's tokens in seconds: how long to keep what is added without
      `exp`. By default, as long as any token of the node.
    - `timeout`: how many seconds `revoke` and `add` wait for the node.
    - `subject_claim`: the claim that names the user.
    - `ca_file`: for https, the only certificate authorities to trust, in PEM form; by default, those of the system.
    - `certificate_file`: the certificate of this client and its private key, in PEM form, with `ca_file`.
    - `ssl_context`: for https, in place of these two; it turns the compiled core off.
    """

    stale_error: type[StaleError] = StaleError
    unavailable_error: type[UnavailableError] = UnavailableError

    def __init__(
        self,
        url: str | None = None,
        client_id: str | None = None,
        secret: str | None = None,
        *,
        issuer: str | None = None,
        max_staleness: float = 2.0,
        stale_policy: Literal["reject", "accept"] = "reject",
        start_timeout: float | None = None,
        lifetime: float | None = None,
        timeout: float = 5.0,
        subject_claim: str = "sub",
        ca_file: str | os.PathLike[str] | None = None,
        certificate_file: str | os.PathLike[str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        stale_timeout: float = 0.0,
    ) -> None:
        if stale_policy not in ("reject", "accept"):
            raise ValueError('stale_policy must be "reject" or "accept"')
        if not (0.1 <= max_staleness <= 86_400):
            raise ValueError("max_staleness must be between 0.1 and 86400 seconds")
        if not (timeout > 0 and math.isfinite(timeout)):
            raise ValueError("timeout must be more than 0 seconds")
        if lifetime is not None and not (lifetime > 0 and math.isfinite(lifetime)):
            raise ValueError("lifetime must be more than 0 seconds")
        if not (0 <= stale_timeout <= 60):
            raise ValueError("stale_timeout must be between 0 and 60 seconds")
        url, client_id, secret = _place(url, client_id, secret)
        is_local = url == IN_MEMORY
        self._stale_timeout = int(stale_timeout * SECOND)
        self._written = 0
        self.url = url
        self.client_id = client_id
        self.max_staleness = max_staleness
        self._issuer = issuer
        self._stale_policy = stale_policy
        self._start_timeout = int((max_staleness if start_timeout is None else start_timeout) * SECOND)
        self._lifetime = lifetime
        self._timeout = timeout
        self._subject_claim = subject_claim
        self._bound = int(max_staleness * SECOND)
        self._limit = self._bound - OFFSET
        if certificate_file is not None and ca_file is None:
            raise ValueError("certificate_file must be given with ca_file")
        if ca_file is not None and ssl_context is not None:
            raise ValueError("ca_file must not be given with ssl_context")
        context = ssl_context if ca_file is None else _trusting(ca_file, certificate_file)
        self._node = MemoryNode() if is_local else Node(url, client_id, secret, context)
        accepts = stale_policy == "accept"
        self._index: Index | CoreIndex
        self._follower: Follower | CoreFollower
        self._tokens: Container[object]
        self._core: Core | None = None
        compiled = None if is_local else core_for(ssl_context)
        if compiled is None:
            self._index = Index(issuer)
            self._tokens = self._index.own.tokens.lapses
            self._follower = Follower(self._node, self._index, max_staleness, accepts_when_stale=accepts)
        else:
            self._core = compiled.Core(
                url,
                client_id,
                secret,
                issuer=issuer,
                max_staleness=max_staleness,
                accepts_when_stale=accepts,
                ca_file=ca_file,
                certificate_file=certificate_file,
            )
            self._index = self._tokens = CoreIndex(self._core, max_staleness, accepts_when_stale=accepts)
            self._follower = CoreFollower(self._core, self._node)
            self._look_up_in(self._core, subject_claim)
        self._complete_at = self._follower.stamp
        self._hooks = Hooks(self)
        self._finalizer = weakref.finalize(self, self._follower.close)
        # At exit the thread ends with the process, without waiting for its connection.
        self._finalizer.atexit = False

    @classmethod
    def in_memory(cls, **options: Any) -> "Self":
        """Returns a blocklist without a server, for an application's own tests: the same rules, in this process alone.

        `options` are those of the class. ``ADIEU_URL=memory:`` does the same.
        """
        blocklist = cls(IN_MEMORY, **options)
        blocklist.wait_ready()
        return blocklist

    def on_revoked(
        self,
        payload: Mapping[str, Any],
        callback: Callable[[], object],
        token: str | bytes | None = None,
        *,
        kid: str | None = None,
    ) -> Callable[[], None]:
        """Calls `callback` once when the token with this payload is revoked, in whatever way; returns how to end this.

        For example to close a WebSocket. A thread of the blocklist calls it, at the latest a tenth of a second after
        this process knows of the revocation; on an event loop, let it use ``loop.call_soon_threadsafe``. What it raises
        is logged. Raises `InvalidClaimsError` for a token without ``exp``, and `TypeError` for one without ``jti`` that
        is not given as `token`. `kid` as for `is_revoked`; without it, the revocation of the key calls nothing.
        """
        claims = claims_of(payload, self._subject_claim, token, kid)
        token_id, expires_at = claims[1], claims[5]
        if token_id is None:
            raise TypeError("a token without jti is known by itself: give it as token")
        if expires_at is None:
            raise InvalidClaimsError("a token without exp outlives its revocation, and can't be judged")
        return self._hooks.watch((*claims[:-1], dict(payload)), callback)

    def on_stale(self, callback: Callable[[], object]) -> None:
        """Calls `callback` whenever the memory becomes stale, like `on_revoked`."""
        self._hooks.add(callback, None)

    def on_fresh(self, callback: Callable[[], object]) -> None:
        """Calls `callback` whenever the memory is fresh again, like `on_revoked`."""
        self._hooks.add(None, callback)

    def __contains__(self, jti: object) -> bool:
        """Returns whether the token with this id was revoked by its id alone.

        A logout at the node ends a session, so use `is_revoked` for tokens of the node. Raises `StaleError` when the
        memory is stale.
        """
        # Reads the freshness before the index, and the time after it: a pause in between can only make it stale.
        complete_at = self._complete_at[0]
        if jti in self._tokens:
            return True
        if moment() - complete_at > self._limit and self._looks_again():
            return jti in self
        if jti.__class__ is not str:
            raise TypeError("the id of a token is text")
        return False

    def is_revoked(
        self, payload: Mapping[str, Any], token: str | bytes | None = None, *, kid: str | None = None
    ) -> bool:
        """Returns whether the token with this decoded payload has been revoked.

        Checks its id, its session, the cut-offs of its user, of its other claims and of its issuer, and its key. A
        token without ``iss`` counts as one of `issuer`. A token without ``jti`` is identified by its signing input:
        pass the encoded `token` as well. `kid` is the one in the header of the token: without it, the revocation of a
        key is not noticed.

        Raises `StaleError` when the memory is stale, `InvalidClaimsError` for a payload that the node would reject, and
        `TypeError` if both ``jti`` and `token` are missing.
        """
        claims = claims_of(payload, self._subject_claim, token, kid)
        complete_at = self._complete_at[0]
        if self._index.is_revoked(claims):
            return True
        if moment() - complete_at > self._limit and self._looks_again():
            return self.is_revoked(payload, token, kid=kid)
        return False

    def add(self, jti: str, *, exp: float | None = None, keep_until: float | None = None) -> None:
        """Revokes the token with this id. Durable when it returns, and known to this process.

        `exp` is the token's; alternatively, `keep_until` is a time by which the token has expired. Raises
        `UnavailableError` if the node cannot be reached or cannot write, and `RefusedError` if it rejects the request.
        """
        self._revoke([self._token(jti, self._issuer, exp, keep_until)])

    def update(self, jtis: Iterable[str]) -> None:
        """Revokes all tokens with these ids, like `add` for each, with fewer requests."""
        if isinstance(jtis, (str, bytes, Mapping)) or not isinstance(jtis, Iterable):
            raise TypeError(f"several ids of tokens are needed, got {type(jtis).__name__}")
        self._revoke([self._token(jti, self._issuer, None, None) for jti in jtis])

    def revoke(
        self, payload: Mapping[str, Any], token: str | bytes | None = None, *, keep_until: float | None = None
    ) -> None:
        """Revokes the token with this decoded payload, and its whole session if it has one (``sid``).

        A token without ``jti`` and ``sid`` is identified by its signing input: pass the encoded `token` as well.
        `keep_until`, as in `add`, is for a token whose ``exp`` may be extended. Raises like `add`, and `TypeError` when
        the token is missing.
        """
        issuer, token_id, session, _, _, expires_at, _, _ = claims_of(payload, self._subject_claim, token)
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

    def revoke_once(
        self, payload: Mapping[str, Any], token: str | bytes | None = None, *, kid: str | None = None
    ) -> bool:
        """Uses a token up: revokes it alone, and returns whether this call was the first.

        Of any number of calls for one token, in all processes and at all nodes, one returns true. Use it so that a
        refresh token of the application works once. Durable when it returns; raises like `is_revoked` and `add`.
        """
        # The memory, which is read after the cursor, has everything before the cursor.
        cursor = self._follower.cursor
        if self.is_revoked(payload, token, kid=kid):
            return False
        claims = claims_of(payload, self._subject_claim, token, kid)
        issuer, token_id, _, _, _, expires_at, _, _ = claims
        issuer = issuer if issuer is not None else self._issuer
        # The log has one order, and revocations of one request are adjacent. The caller that finds nothing about the
        # token between the cursor and its own revocation, which is right before its mark, was the first.
        mark = secrets.token_urlsafe(24)
        used = self._token(_text(token_id), issuer, expires_at, None)
        self._revoke([used, self._token(mark, issuer, None, time.time() + _MARK_KEPT)])
        return not self._revoked_before(mark, claims, cursor)

    def revoke_subject(self, subject: str | int, *, issuer: str | None = None) -> None:
        """Revokes all tokens of a user issued until now, for example after a change of the password.

        `issuer` is the one whose user it is: by default that of the blocklist.

        Durable when it returns, and known to this process. It returns once the second of the cut-off is over by the
        clock of this machine, so that tokens issued afterwards are good. For an issuer other than the node, it adds the
        seconds by which that issuer's clock may be ahead: 3 by default, at most a minute. Raises like `add`.
        """
        name = _text(str(subject) if subject.__class__ is int else subject)
        self._cut_off(self._issuer if issuer is None else issuer, subject=name)

    def revoke_claim(self, name: str, value: str | int | bool, *, issuer: str | None = None) -> None:
        """Revokes all tokens issued until now that have the claim `name` with this value, or with a list that has it.

        For example all tokens of a tenant. The node allows the names in its setting ``revocable_claims``. A number must
        be below 2^53. `issuer` is by default that of the blocklist. Waits and raises like `revoke_subject`.
        """
        text = claim_text(value)
        if text is None or not isinstance(name, str):
            raise TypeError("a claim has a name, and a value that is text, true or false, or a whole number below 2^53")
        self._cut_off(self._issuer if issuer is None else issuer, claim={"name": name, "value": text})

    def wait_ready(self, timeout: float | None = None) -> None:
        """Waits until the first snapshot is loaded.

        Raises `StaleError` after the timeout, and `RefusedError` as soon as the node rejects the client.
        """
        until = None if timeout is None else moment() + int(timeout * SECOND)
        if not self._follower.wait_ready(until):
            error = self._follower.error
            raise error if isinstance(error, RefusedError) else self._stale()

    @property
    def backend(self) -> Literal["core", "pure"]:
        """What follows and looks up: the compiled core, or this package itself."""
        return "pure" if self._core is None else "core"

    @property
    def staleness(self) -> float | None:
        """How many seconds ago the memory was known to be complete; none before the first snapshot."""
        complete_at = self._follower.complete_at
        return None if complete_at is None else (moment() - complete_at) / SECOND

    @property
    def is_fresh(self) -> bool:
        """Whether the memory is within the bound; for a readiness probe."""
        complete_at = self._follower.complete_at
        return complete_at is not None and moment() - complete_at <= self._bound

    def readiness(self) -> tuple[dict[str, Any], int]:
        """Returns the body and the status of the response to a readiness probe: 200, or 503 if the memory is stale.

        A view of Flask may return it as it is; `adieu.fastapi` and `adieu.drf` make responses of it.
        """
        is_fresh = self.is_fresh
        body = {"status": "ready" if is_fresh else "stale", "backend": self.backend, "staleness": self.staleness}
        return body, 200 if is_fresh else 503

    @property
    def may_wait(self) -> bool:
        """Whether a lookup now may wait for news, so that it must not run on an event loop."""
        complete_at = self._follower.complete_at
        return complete_at is None or (self._stale_timeout > 0 and moment() - complete_at > self._bound // 2)

    def close(self) -> None:
        """Stops following. Later lookups behave as when the node is unavailable."""
        self._finalizer()
        self._follower.join()

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        """Returns the number of remembered ids; with the compiled core, those of sessions and users as well."""
        return len(self._index)

    def __bool__(self) -> bool:
        """Returns true, also for an empty blocklist."""
        return True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.client_id} at {self.url}, {len(self)} ids>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Blocklist holds a secret and a thread; make one where it is needed")

    def _look_up_in(self, core: "Core", subject_claim: str) -> None:
        """Does nothing where the look-ups of the core, which replace this, are not a base of the class."""

    def _looks_again(self) -> bool:
        """Returns whether a lookup that found a stale index should be repeated. Raises if it must be rejected."""
        follower = self._follower
        if follower.complete_at is None:
            until = follower.started_at + self._start_timeout
            if moment() < until and follower.wait_ready(until):
                # The first answer may have been under way for so long that it is stale. The next one is awaited then.
                follower.wait_complete(moment() - self._bound // 2, until)
                return True
        elif self._stale_timeout and not follower.is_closed:
            now = moment()
            if follower.wait_complete(now - self._bound // 2, now + self._stale_timeout):
                return True
        # Continuing with the known revocations requires a first snapshot.
        if self._stale_policy == "accept" and follower.has_read_all:
            return False
        raise self._stale()

    def _revoked_before(self, mark: str, claims: Claims, cursor: str | None) -> bool:
        """Returns whether the log revokes the token between a cursor and the entry right before a mark."""
        until = moment() + int(self._timeout * SECOND)
        earlier, last = Index(self._issuer), None
        query: dict[str, str | int] = {"wait": 0}
        while moment() < until:
            if cursor is not None:
                query["after"] = cursor
            try:
                page = self._node.read(query, self._timeout)
                earlier.name_node(page.issuer)
                for entry in page.entries:
                    if isinstance(entry, dict) and entry.get("id") == mark:
                        return earlier.is_revoked(claims)
                    if last is not None:
                        earlier.extend([last])
                    last = entry
            except (BadFactError, UnavailableError) as error:
                raise self.unavailable_error(str(error)) from error
            cursor = page.cursor
            query["wait"] = _WAIT_FOR_MARK_MS
        raise self.unavailable_error("the token is used up, but by whom was not heard of in time")

    def _cut_off(self, issuer: str | None, **what: Any) -> None:
        """Revokes what was issued to a subject or with a claim, and waits until a token that is issued now is good."""
        self._revoke([self._wider(issuer, **what)])
        # Only the node knows the second of the cut-off.
        answered_at = moment()
        if not self._follower.wait_complete(answered_at, answered_at + int(self._timeout * SECOND)):
            raise self.unavailable_error("the revocation is durable, but was not heard of here in time")
        claim = what.get("claim")
        payload = {} if claim is None else {claim["name"]: claim["value"]}
        # No cut-off reaches further, so a longer wait would be due to clock skew.
        until = moment() + int((_MOST_AHEAD + self._timeout) * SECOND)
        while self._index.cuts_off(issuer, payload, what.get("subject"), int(now := time.time())):
            if moment() > until:
                logger.warning("tokens that are issued now by the clock here are revoked with the rest")
                return
            time.sleep(min(1 - now % 1, 0.1))

    def _stale(self) -> StaleError:
        return stale(self._follower, self.max_staleness, self.stale_error)

    def _token(self, jti: str, issuer: str | None, exp: float | None, keep_until: float | None) -> dict[str, Any]:
        revocation = _of(issuer, token_id=_text(jti))
        for name, value in (("exp", exp), ("keep_until", keep_until)):
            is_date = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if value is not None and not is_date:
                raise TypeError(f"{name} must be seconds since 1970, got {value!r:.40}")
        if exp is not None:
            # Not as `expires_at`, with which the node would look the token up: a wrong value would hide the revocation.
            revocation["keep_until"] = math.floor(exp)
        elif keep_until is not None:
            revocation["keep_until"] = math.ceil(keep_until)
        elif self._lifetime is not None:
            revocation["keep_until"] = math.ceil(time.time() + self._lifetime)
        return revocation

    def _wider(self, issuer: str | None, **what: Any) -> dict[str, Any]:
        revocation = _of(issuer, **what)
        node_issuer = self._index.node_issuer
        # The node knows the lifetimes of its own users' tokens and of its own sessions.
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
        self._index.remember(revocations)
        self._written += 1


def _setting(argument: str, variable: str) -> str:
    value = os.environ.get(variable)
    if value is None:
        raise ValueError(f"{argument} must be given, or {variable} set")
    return value


def _place(url: str | None, client_id: str | None, secret: str | None) -> tuple[str, str, str]:
    """Returns the arguments, or what the environment has in their place."""
    url = _setting("url", "ADIEU_URL") if url is None else url
    if url == IN_MEMORY:
        return url, client_id or "tests", secret or ""
    client_id = _setting("client_id", "ADIEU_CLIENT") if client_id is None else client_id
    return url, client_id, _secret() if secret is None else secret


def _secret() -> str:
    path = os.environ.get("ADIEU_SECRET_FILE")
    return _setting("secret", "ADIEU_SECRET") if path is None else Path(path).read_text(encoding="utf-8")


def _trusting(ca_file: str | os.PathLike[str], certificate_file: str | os.PathLike[str] | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=os.fspath(ca_file))
    if certificate_file is not None:
        context.load_cert_chain(certificate_file)
    return context


def _of(issuer: str | None, **what: Any) -> dict[str, Any]:
    return dict(what) if issuer is None else {**what, "issuer": issuer}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("the id of a token or a user is text")
    return value
