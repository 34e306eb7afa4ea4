"""The revocations in memory.

1. Revocations only accumulate: the order of their arrival does not matter, and a second one of the same target never
   weakens the first.
2. Readers take no lock. Writers hold `Index.lock`, which is also held while the process forks.
3. A revocation is removed only when it has lapsed at the node *and* by the local clock. From then on, a token that it
   could match counts as revoked by its ``exp`` alone, so that a clock that goes back revives no token.
"""

import contextlib
import hashlib
import re
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from adieu import base64url
from adieu.errors import InvalidClaimsError

KEPT_AFTER_EXPIRY = 120
"""How many seconds a revocation is kept after the last token that it matches expires: leeway and clock skew."""

NEVER = 1 << 62
"""The time at which a revocation lapses if its time is not known yet."""

_SLOT_BITS = 8
"""Revocations are removed in groups of those that lapse within 256 seconds."""

_LATEST = 253_402_300_799
"""The end of the year 9999. A later time is in milliseconds by mistake."""

_LONGEST = 512
"""No revocation names an id of more bytes."""

_SHORT = _LONGEST // 4
"""A text of at most this many characters never exceeds `_LONGEST` bytes."""


_SEPARATOR = "\x1f"
"""Between the name and the value of a claim, in one id."""

_RESERVED = frozenset(("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "type", "fresh"))
"""The claims that no revocation by claim names."""

_CLAIM_NAME = re.compile("[!-~]{1,128}")

_SIGNED = re.compile(rb"[\w-]+\.[\w-]+\.[\w-]*")
"""Three parts in base64url."""


class BadFactError(ValueError):
    """A revocation that this version cannot read. Skipping it would accept the tokens that it revokes."""


class Lapsing:
    """Ids that are remembered until a time."""

    __slots__ = ("_due", "lapses")

    def __init__(self) -> None:
        self.lapses: dict[str, int] = {}
        self._due: dict[int, list[str]] = {}

    def put(self, name: str, lapses_at: int) -> None:
        """Remembers the id until this time, or until the time known before if that is later."""
        known = self.lapses.get(name)
        if known is not None and known != NEVER and known >= lapses_at:
            return
        self.lapses[name] = lapses_at
        self._due.setdefault(lapses_at >> _SLOT_BITS, []).append(name)

    def put_until_told(self, name: str, lapses_at: int) -> None:
        """Remembers the id until the feed brings the time at which it lapses."""
        if lapses_at != NEVER:
            self.put(name, lapses_at)
        else:
            self.lapses.setdefault(name, NEVER)

    def forget(self, now: int) -> list[str]:
        """Removes the ids that have lapsed, and returns them."""
        forgotten = []
        for slot in [slot for slot in self._due if (slot + 1) << _SLOT_BITS <= now]:
            for name in self._due.pop(slot):
                if self.lapses.get(name, NEVER) <= now:
                    del self.lapses[name]
                    forgotten.append(name)
        return forgotten


class CutOffs(Lapsing):
    """Ids, each with the `iat` up to which its tokens are revoked."""

    __slots__ = ("until",)

    def __init__(self) -> None:
        super().__init__()
        self.until: dict[str, int] = {}

    def end(self, name: str, issued_until: int, lapses_at: int) -> None:
        """Revokes what was issued until a time; the latest of several counts."""
        self.until[name] = max(issued_until, self.until.get(name, -1))
        self.put(name, lapses_at)

    def forget(self, now: int) -> list[str]:
        """Removes the ids that have lapsed, and returns them."""
        forgotten = super().forget(now)
        for name in forgotten:
            del self.until[name]
        return forgotten

    def absorb(self, other: "CutOffs") -> None:
        """Adds the cut-offs that are known under another name of the same issuer."""
        for name, issued_until in other.until.items():
            self.end(name, issued_until, other.lapses[name])


class Facts:
    """The revocations of one issuer."""

    __slots__ = ("claim_names", "claims", "everything_until", "keys", "sessions", "subjects", "tokens")

    def __init__(self) -> None:
        self.tokens = Lapsing()
        self.sessions = Lapsing()
        self.subjects = CutOffs()
        # Never removed: the holder of a stolen key can sign new tokens for ever.
        self.keys: set[str] = set()
        self.claims = CutOffs()
        # Replaced as a whole, because readers iterate over it without a lock.
        self.claim_names: tuple[str, ...] = ()
        self.everything_until = -1

    def end_claim(self, name: str, value: str, issued_until: int, lapses_at: int) -> None:
        """Revokes everything issued until a time whose claim `name` has this value."""
        self.claims.end(f"{name}{_SEPARATOR}{value}", issued_until, lapses_at)
        if name not in self.claim_names:
            self.claim_names += (name,)

    def revokes_claim(self, payload: Mapping[str, Any], issued_at: int | None) -> bool:
        """Returns whether a token issued at this time is revoked by one of its claims."""
        for name in self.claim_names:
            for value in claim_texts(payload.get(name)):
                until = self.claims.until.get(f"{name}{_SEPARATOR}{value}")
                if until is not None and (issued_at is None or issued_at <= until):
                    return True
        return False

    def end_everything(self, issued_until: int) -> None:
        """Revokes everything issued until a time. One number per issuer, so it is never removed."""
        self.everything_until = max(issued_until, self.everything_until)

    def forget(self, now: int) -> None:
        """Removes what has lapsed."""
        self.tokens.forget(now)
        self.sessions.forget(now)
        self.subjects.forget(now)
        if self.claims.forget(now):
            self.claim_names = tuple({name.partition(_SEPARATOR)[0] for name in self.claims.until})

    def absorb(self, other: "Facts") -> None:
        """Adds the revocations that are known under another name of the same issuer."""
        for mine, theirs in ((self.tokens, other.tokens), (self.sessions, other.sessions)):
            for name, lapses_at in theirs.lapses.items():
                mine.put_until_told(name, lapses_at)
        self.subjects.absorb(other.subjects)
        self.keys |= other.keys
        self.claims.absorb(other.claims)
        self.claim_names = tuple({*self.claim_names, *other.claim_names})
        self.end_everything(other.everything_until)


class Index:
    """All revocations, by issuer. `own` has those of the issuer of tokens without ``iss``."""

    def __init__(self, issuer: str | None) -> None:
        self.lock = threading.Lock()
        self.own = Facts()
        self.pruned_through = 0
        self.node_issuer: str | None = None
        self._follows_node = issuer is None
        self._by_issuer: dict[str, Facts] = {} if issuer is None else {issuer: self.own}
        self._forgotten_slot = 0

    def of(self, issuer: str | None) -> Facts:
        """Returns the revocations of an issuer; `own` if the token names none."""
        if issuer is None:
            return self.own
        facts = self._by_issuer.get(issuer)
        if facts is None:
            facts = self._by_issuer[issuer] = Facts()
        return facts

    def __len__(self) -> int:
        return len(self.own.tokens.lapses)

    def cuts_off(self, issuer: str | None, payload: Mapping[str, str], subject: str | None, issued_at: int) -> bool:
        """Returns whether a token of this subject or with these claims, issued at this time, is revoked."""
        with self.lock:
            facts = self.of(issuer)
            is_old = subject is not None and issued_at <= facts.subjects.until.get(subject, -1)
            return is_old or facts.revokes_claim(payload, issued_at)

    def remember(self, revocations: Iterable[Mapping[str, Any]]) -> None:
        """Applies what this process has revoked, until the feed tells when it lapses."""
        with self.lock:
            for revocation in revocations:
                facts = self.of(revocation.get("issuer"))
                if "token_id" in revocation:
                    known = revocation.get("keep_until")
                    lapses_at = NEVER if known is None else known + KEPT_AFTER_EXPIRY
                    facts.tokens.put_until_told(revocation["token_id"], lapses_at)
                elif "session" in revocation:
                    facts.sessions.put_until_told(revocation["session"], NEVER)

    def name_node(self, issuer: str) -> bool:
        """Sets the node's own issuer; returns whether it was another one before.

        Needs the lock. Both names are one issuer from then on: renaming a node must not revive what was revoked before.
        """
        before, self.node_issuer = self.node_issuer, issuer
        if before == issuer:
            return False
        if before is not None or self._follows_node:
            kept, other = self.of(before), self.of(issuer)
            if other is self.own:
                # It is the one that `in` reads.
                kept, other = other, kept
            if kept is not other:
                kept.absorb(other)
                names = [name for name, facts in self._by_issuer.items() if facts is other]
                self._by_issuer.update(dict.fromkeys(names, kept))
        return before is not None

    def extend(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Applies entries of the feed. Needs the lock.

        Raises `BadFactError` for an entry that it cannot read.
        """
        for entry in entries:
            try:
                kind, facts, lapses_at = entry["kind"], self.of(text(entry["issuer"])), number(entry["lapses_at"])
                # Not needed here, because tokens are found by their id alone. A page with another value is invalid.
                if entry.get("expires_at") is not None:
                    number(entry["expires_at"])
                if kind == "token":
                    facts.tokens.put(text(entry["id"]), lapses_at)
                elif kind == "session":
                    facts.sessions.put(text(entry["id"]), lapses_at)
                elif kind == "subject":
                    facts.subjects.end(text(entry["id"]), number(entry["issued_until"]), lapses_at)
                elif kind == "everything":
                    facts.end_everything(number(entry["issued_until"]))
                elif kind == "key":
                    facts.keys.add(text(entry["id"]))
                elif kind == "claim":
                    name, value = checked_claim(entry["name"], entry["value"])
                    facts.end_claim(name, value, number(entry["issued_until"]), lapses_at)
                else:
                    raise BadFactError(f"an unknown kind {kind!r:.40}: this follower is too old for the node")
            except (KeyError, TypeError) as error:
                raise BadFactError("the node tells of a revocation that can't be read") from error

    def forget_lapsed(self, pruned_through: int) -> None:
        """Raises the mark to the node's, and removes what has lapsed. Needs the lock."""
        # The mark is raised first: a reader reads the revocations, then the mark, and so sees one of the two.
        self.pruned_through = max(self.pruned_through, pruned_through)
        limit = min(self.pruned_through, int(time.time()))
        if limit >> _SLOT_BITS == self._forgotten_slot:
            return
        self._forgotten_slot = limit >> _SLOT_BITS
        for facts in {id(facts): facts for facts in self._by_issuer.values()}.values():
            facts.forget(limit)

    def is_revoked(self, claims: "Claims") -> bool:
        """Returns whether a revocation matches the token, or one that could have matched it was removed.

        Raises `TypeError` for a token without an id, and `InvalidClaimsError` for a token that never expires, or whose
        id is null.
        """
        issuer, token_id, session, subject, issued_at, expires_at, kid, payload = claims
        if token_id is None:
            raise without_id(payload)
        facts = self.own if issuer is None else self._by_issuer.get(issuer, _NOTHING)
        # An id that was added without its issuer is found too, so that this agrees with `in`.
        if token_id in facts.tokens.lapses or token_id in self.own.tokens.lapses:
            return True
        if session is not None and session in facts.sessions.lapses:
            return True
        if subject is not None:
            until = facts.subjects.until.get(subject)
            if until is not None and (issued_at is None or issued_at <= until):
                return True
        until = facts.everything_until
        if until >= 0 and (issued_at is None or issued_at <= until):
            return True
        if (facts.keys and kid in facts.keys) or (facts.claim_names and facts.revokes_claim(payload, issued_at)):
            return True
        if expires_at is None:
            raise InvalidClaimsError("a token without exp outlives its revocation, and can't be judged")
        return expires_at + KEPT_AFTER_EXPIRY <= self.pruned_through


def without_id(payload: Mapping[str, Any]) -> TypeError:
    """Returns the error to raise for a token without an id, which was not given itself either."""
    if "jti" in payload:
        return InvalidClaimsError(f"the claim jti must be text of 1 to {_LONGEST} bytes")
    return TypeError("a token without jti is known by itself: give it as token")


Claims = tuple[str | None, str | None, str | None, str | None, int | None, int | None, str | None, Mapping[str, Any]]
"""The claims of a token: issuer, id, session, subject, time of issue, and expiry; its key, and its whole payload."""


def claims_of(
    payload: Mapping[str, Any], subject_claim: str, token: str | bytes | None = None, kid: str | None = None
) -> Claims:
    """Returns the relevant claims of the payload of a verified token.

    `token` is the encoded token, which identifies a token without ``jti``; see `token_id_of`. `kid` is that of its
    header. Raises `InvalidClaimsError` for a claim or a `kid` that the node would reject.
    """
    # A valid claim costs no function call, because this runs for every request.
    try:
        get = payload.get
    except AttributeError:
        raise TypeError(f"the decoded payload of a token must be a mapping, got {type(payload).__name__}") from None
    issuer = get("iss")
    if issuer.__class__ is not str or not 0 < len(issuer) <= _SHORT:
        issuer = _name("iss", issuer, payload)
    token_id = get("jti")
    if token_id.__class__ is not str or not 0 < len(token_id) <= _SHORT:
        # Flask-JWT-Extended turns a missing one into null.
        if token_id is not None:
            token_id = _name("jti", token_id, payload)
        elif token is not None:
            token_id = token_id_of(token)
    session = get("sid")
    if session is None:
        if "sid" in payload:
            session = _name("sid", session, payload)
    elif session.__class__ is not str or not 0 < len(session) <= _SHORT:
        session = _name("sid", session, payload)
    subject = get(subject_claim)
    if subject.__class__ is not str or not 0 < len(subject) <= _SHORT:
        subject = _subject(subject_claim, subject, payload)
    issued_at = get("iat")
    if issued_at.__class__ is not int or not 0 <= issued_at <= _LATEST:
        issued_at = _date("iat", issued_at, payload)
    expires_at = get("exp")
    if expires_at.__class__ is not int or not 0 <= expires_at <= _LATEST:
        expires_at = _date("exp", expires_at, payload)
    if kid is not None and not isinstance(kid, str):
        raise InvalidClaimsError("the kid of a token must be text")
    return issuer, token_id, session, subject, issued_at, expires_at, kid, payload


def claim_texts(value: object) -> Iterable[str]:
    """Returns the texts that revoke a token whose claim has this value; of a list, those of its elements."""
    if isinstance(value, (list, tuple)):
        return [text for element in value if (text := claim_text(element)) is not None]
    text = claim_text(value)
    return () if text is None else (text,)


def claim_text(value: object) -> str | None:
    """Returns the value of a claim as text; none for one that no revocation names."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    # Programs that read numbers as floats would read larger numbers differently. NaN fails the comparison.
    if isinstance(value, (int, float)) and abs(value) < 1 << 53 and value == int(value):
        return str(int(value))
    return None


def checked_claim(name: object, value: object) -> tuple[str, str]:
    """Returns name and value of a revocation by claim. Raises `TypeError` for what the node would reject."""
    if not isinstance(name, str) or not _CLAIM_NAME.fullmatch(name) or name in _RESERVED:
        raise TypeError
    value = text(value)
    text(f"{name}{_SEPARATOR}{value}")
    return name, value


def token_id_of(token: str | bytes) -> str:
    """Returns the id of an encoded token that has no ``jti``: the SHA-256 of its signing input, in base64url.

    The signature is not included, because some algorithms have several encodings of it. The node and all clients use
    the same id.
    """
    if isinstance(token, str):
        token = token.encode("ascii", "replace")
    # Any other text, such as a header with its scheme, would have another id and count as not revoked.
    if not isinstance(token, bytes) or not _SIGNED.fullmatch(token):
        raise TypeError("the token must be a signed JWT, as it was sent")
    signed, _, _ = token.rpartition(b".")
    return base64url.encode(hashlib.sha256(signed).digest())


_NOTHING = Facts()


def _name(claim: str, value: object, payload: Mapping[str, Any]) -> str | None:
    if value is None and claim not in payload:
        return None
    if isinstance(value, str) and 0 < len(value.encode("utf-8", "replace")) <= _LONGEST:
        return value
    raise InvalidClaimsError(f"the claim {claim} must be text of 1 to {_LONGEST} bytes")


def _subject(claim: str, value: object, payload: Mapping[str, Any]) -> str | None:
    """Returns the subject as text. It may be a whole number, as in older applications: 7 is the same as "7"."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        # Programs that read numbers as floats would read larger numbers differently.
        if abs(value) < 1 << 53 and value == int(value):
            return str(int(value))
        raise InvalidClaimsError(f"the claim {claim} must be text, or a whole number below 2^53")
    return _name(claim, value, payload)


def _date(claim: str, value: object, payload: Mapping[str, Any]) -> int | None:
    if value is None and claim not in payload:
        return None
    # NaN fails the comparison.
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= _LATEST:
        # Rounded down, as at the node: a fraction never extends a token's life.
        return int(value // 1)
    raise InvalidClaimsError(f"the claim {claim} must be seconds since 1970")


def text(value: object) -> str:
    """Returns an id or an issuer of the feed. Raises `TypeError`, also for half a surrogate pair."""
    if isinstance(value, str) and 0 < len(value) <= _LONGEST:
        with contextlib.suppress(UnicodeEncodeError):
            if value.isascii() or len(value.encode()) <= _LONGEST:
                return value
    raise TypeError


def number(value: object) -> int:
    """Returns a time of the feed. Raises `TypeError`."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LATEST:
        return value
    raise TypeError
