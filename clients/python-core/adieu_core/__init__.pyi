from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, final

__version__: str

@final
class Core:
    def __new__(
        cls,
        url: str,
        client_id: str,
        secret: str,
        *,
        issuer: str | None,
        max_staleness: float,
        accepts_when_stale: bool,
        ca_file: str | PathLike[str] | None,
        certificate_file: str | PathLike[str] | None,
    ) -> Core: ...
    def start(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def forget_freshness(self) -> None: ...
    def contains(self, jti: object) -> bool | None: ...
    def is_revoked(self, payload: Mapping[str, Any], subject_claim: str, kid: object) -> bool | None: ...
    def matches(
        self,
        issuer: str | None,
        token_id: str,
        session: str | None,
        subject: str | None,
        issued_at: int | None,
        key_id: str | None,
        payload: dict[str, Any],
    ) -> bool: ...
    def add_token(self, issuer: str | None, id: str, lapses_at: int) -> None: ...
    def add_session(self, issuer: str | None, id: str, lapses_at: int) -> None: ...
    def take_messages(self) -> list[tuple[int, str]]: ...
    @property
    def complete_at(self) -> int | None: ...
    @property
    def failure(self) -> tuple[int | None, str] | None: ...
    @property
    def changes(self) -> int: ...
    @property
    def cursor(self) -> str | None: ...
    @property
    def node_issuer(self) -> str | None: ...
    @property
    def pruned_through(self) -> int: ...
    @property
    def follower_id(self) -> str | None: ...
    @property
    def size(self) -> tuple[int, int]: ...

@final
class Verifier:
    def __new__(
        cls,
        core: Core,
        issuer: str,
        *,
        audience: Sequence[str],
        leeway: float,
        lenient: bool,
        key: bytes | None,
        algorithm: str | None,
        keys_url: str | None,
        subject_claim: str,
    ) -> Verifier: ...
    def verify(self, token: str, kind: str | None) -> tuple[str, str] | None: ...
    @property
    def has_keys(self) -> bool: ...
