"""The integration for FastAPI.

>>> blocklist = Blocklist(url, "shop", secret)  # doctest: +SKIP
>>> current_token = NotRevoked(blocklist, lambda token: jwt.decode(token, key, algorithms=["EdDSA"]))  # doctest: +SKIP
>>> @app.get("/orders")  # doctest: +SKIP
... def orders(payload: Annotated[dict, Depends(current_token)]): ...
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette import status
from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse

from adieu import blocklist, errors, kind
from adieu.acceptance import SKEW, is_acceptable
from adieu.index import token_id_of
from adieu.verifier import Claims, IssuerMismatch, Verifier

_MAX_WAITING = 40
_WAITING: RunVar[CapacityLimiter] = RunVar("adieu_waiting")
"""The limit of the threads that wait, in each event loop."""


class _Answered503(HTTPException):
    def __init__(self, why: str) -> None:
        # The reason is for the log: it names the node and its state.
        super().__init__(503, "Please try again.", {"Retry-After": "1"})
        self.args = (why,)


class StaleError(_Answered503, errors.StaleError):
    """`adieu.StaleError`, answered 503."""


class UnavailableError(_Answered503, errors.UnavailableError):
    """`adieu.UnavailableError`, answered 503."""


class Blocklist(blocklist.Blocklist):
    """`adieu.Blocklist` for applications made with FastAPI or Starlette."""

    stale_error = StaleError
    unavailable_error = UnavailableError


class _Bearer(HTTPBearer):
    """The credentials of a request or of a WebSocket; FastAPI's own class has requests only, before 0.121."""

    async def __call__(self, connection: HTTPConnection) -> HTTPAuthorizationCredentials | None:
        scheme, _, credentials = connection.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not credentials:
            return None
        return HTTPAuthorizationCredentials(scheme=scheme, credentials=credentials.strip())


class NotRevoked:
    """A dependency that returns the payload of a good bearer token that is not revoked; otherwise 401, or 503 if stale.

    A WebSocket is closed with 1008 in place of 401, and with 1013 in place of 503.

    - `decode` verifies a token and returns its payload, such as `Verifier.verify`. What it raises is answered 401,
      except for `StaleError`.
    - `types` are the accepted kinds of token: by default access tokens. Use ``("refresh",)`` for the application's own
      refresh tokens; those of the node are for the node alone.
    - `skew` is how many seconds ``iat`` may be ahead: at most the issuer's ``clock_skew`` at the node.

    The payload of a token without ``jti`` gets an id that is the same everywhere, so that it can be revoked.
    """

    def __init__(
        self,
        blocklist: Blocklist,
        decode: Callable[[str], Mapping[str, Any]],
        *,
        types: Collection[str] = kind.ACCESS,
        skew: float = SKEW,
    ) -> None:
        self._blocklist = blocklist
        self._decode = decode
        self._types = kind.checked(types)
        self._skew = skew

    async def __call__(
        self,
        connection: HTTPConnection,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_Bearer(auto_error=False))],
    ) -> Mapping[str, Any]:
        """Returns the payload of the token in the request."""
        try:
            return await self._judge(credentials)
        except HTTPException as error:
            if connection.scope["type"] != "websocket":
                raise
            code = status.WS_1008_POLICY_VIOLATION if error.status_code == 401 else status.WS_1013_TRY_AGAIN_LATER
            raise WebSocketException(code, error.detail) from error

    def _may_wait(self) -> bool:
        """Whether `decode`, which may be a `Verifier`'s, may wait for news of the revocations."""
        verifier = getattr(self._decode, "__self__", None)
        return self._blocklist.may_wait or (isinstance(verifier, Verifier) and verifier.blocklist.may_wait)

    async def _judge(self, credentials: HTTPAuthorizationCredentials | None) -> Mapping[str, Any]:
        if credentials is None:
            raise _unauthorized("Not authenticated.")
        token = credentials.credentials
        try:
            payload = await _in_thread(self._decode, token) if self._may_wait() else self._decode(token)
            header = kind.header_of(token)
        except errors.StaleError as error:
            # Of a `Verifier`, which is not of this module.
            raise StaleError(str(error)) from error
        except IssuerMismatch:
            # The application's settings are wrong, not the token.
            raise
        except Exception as error:
            raise _unauthorized("The token is not valid.", "invalid_token") from error
        if not is_acceptable(self._types, header, payload, self._skew):
            raise _unauthorized("The token is not valid.", "invalid_token")
        kid = payload.kid if isinstance(payload, Claims) else header.get("kid")
        if "jti" not in payload:
            with_id = {**payload, "jti": token_id_of(token)}
            payload = Claims(token, kid, with_id) if isinstance(payload, Claims) else with_id
        try:
            if payload["jti"] is None:
                raise errors.InvalidClaimsError("the claim jti must be text")
            if self._blocklist.may_wait:
                revoked = await _in_thread(self._blocklist.is_revoked, payload, kid=kid)
            else:
                revoked = self._blocklist.is_revoked(payload, kid=kid)
        except errors.InvalidClaimsError as error:
            raise _unauthorized("The token is not valid.", "invalid_token") from error
        if revoked:
            raise _unauthorized("The token has been revoked.", "invalid_token")
        return payload


def readiness(of: blocklist.Blocklist | Verifier) -> Callable[[], Awaitable[JSONResponse]]:
    """Returns a handler for a readiness probe: ``app.get("/readyz")(readiness(VERIFIER))``."""

    async def answer() -> JSONResponse:
        body, status_code = of.readiness()
        return JSONResponse(body, status_code)

    return answer


async def _in_thread(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Calls a function that may wait, without the threads that run the application's handlers."""
    try:
        limiter = _WAITING.get()
    except LookupError:
        limiter = CapacityLimiter(_MAX_WAITING)
        _WAITING.set(limiter)
    return await to_thread.run_sync(partial(function, *arguments, **named), limiter=limiter)


def _unauthorized(detail: str, code: str | None = None) -> HTTPException:
    # RFC 6750 section 3.1: no error code if the request has no token.
    challenge = "Bearer" if code is None else f'Bearer error="{code}"'
    return HTTPException(401, detail, {"WWW-Authenticate": challenge})
