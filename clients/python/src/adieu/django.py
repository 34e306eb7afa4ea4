"""The integration for Django REST framework with simplejwt.

In the settings of the project::

    from adieu.simplejwt import SERIALIZERS

    ADIEU = {"url": "https://adieu.example.org", "client_id": "shop", "secret": os.environ["BLOCKLIST_SECRET"]}
    REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["adieu.django.JWTAuthentication"]}
    SIMPLE_JWT = {**SERIALIZERS, "ROTATE_REFRESH_TOKENS": True, "BLACKLIST_AFTER_ROTATION": True}

``ADIEU`` accepts every argument of `adieu.Blocklist`; `issuer` is by default simplejwt's ``ISSUER``. It also accepts
`skew`: how many seconds ``iat`` may be ahead, at most the issuer's ``clock_skew`` at the node. A view logs its
caller out with ``blocklist().revoke(request.auth.payload)``, which ends both tokens of the pair and all tokens
refreshed from them, by their common ``sid``. A project fails at start with a view of simplejwt that does not check, or
with such a class in ``DEFAULT_AUTHENTICATION_CLASSES``. The classes that single views name are not examined.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import request_started
from django.http import JsonResponse
from django.utils.module_loading import import_string
from rest_framework.settings import api_settings as rest_settings
from rest_framework_simplejwt import authentication, serializers, tokens
from rest_framework_simplejwt.exceptions import InvalidToken, TokenError
from rest_framework_simplejwt.settings import api_settings

from adieu import drf, errors, kind
from adieu.acceptance import SKEW, is_acceptable
from adieu.index import token_id_of
from adieu.simplejwt import SERIALIZERS


class Blocklist(drf.Blocklist):
    """`adieu.Blocklist` for applications made with Django REST framework and simplejwt."""

    def revoke(
        self, payload: Mapping[str, Any], token: str | bytes | None = None, *, keep_until: float | None = None
    ) -> None:
        """Like `adieu.Blocklist.revoke`; a sliding token is revoked for as long as it could be refreshed."""
        if keep_until is None:
            # A refresh extends its exp and keeps its id.
            keep_until = payload.get(api_settings.SLIDING_TOKEN_REFRESH_EXP_CLAIM)
            if keep_until is not None:
                keep_until = max(keep_until, payload["exp"])
        super().revoke(payload, token, keep_until=keep_until)


@cache
def blocklist() -> Blocklist:
    """Returns the blocklist of this project, created from the setting ``ADIEU`` at the first call."""
    for setting, ours in SERIALIZERS.items():
        path = getattr(api_settings, setting)
        if not issubclass(import_string(path), import_string(ours)):
            raise ImproperlyConfigured(f"SIMPLE_JWT: {setting} must be {ours} or derived from it, and not {path}")
    lifetimes = (
        api_settings.ACCESS_TOKEN_LIFETIME,
        api_settings.REFRESH_TOKEN_LIFETIME,
        api_settings.SLIDING_TOKEN_LIFETIME,
        api_settings.SLIDING_TOKEN_REFRESH_LIFETIME,
    )
    options = {
        "issuer": api_settings.ISSUER,
        "subject_claim": api_settings.USER_ID_CLAIM,
        "lifetime": max(lifetimes).total_seconds(),
    }
    options.update(settings.ADIEU)
    options.pop("skew", None)
    return Blocklist(**options)


def readiness(_: Any = None) -> JsonResponse:
    """Answers a readiness probe: ``path("readyz", readiness)``."""
    body, status = blocklist().readiness()
    return JsonResponse(body, status=status)


class _NotRevoked:
    def get_validated_token(self, raw_token: bytes) -> Any:
        """Returns the verified token. A revoked token is answered 401."""
        try:
            with _readable():
                token = super().get_validated_token(raw_token)  # type: ignore[misc]
            _require_good(token, ("access", token.token_type))
        except TokenError as error:
            code = "token_revoked" if isinstance(error, _RevokedError) else "token_not_valid"
            raise InvalidToken({"detail": error.args[0], "code": code}) from error
        # So that the token can be revoked by its payload.
        token.payload = _with_id(token)
        return token


class JWTAuthentication(_NotRevoked, authentication.JWTAuthentication):  # type: ignore[misc]
    """simplejwt's class of this name, which also rejects revoked tokens."""


class JWTStatelessUserAuthentication(_NotRevoked, authentication.JWTStatelessUserAuthentication):  # type: ignore[misc]
    """simplejwt's class of this name, which also rejects revoked tokens; it does not query the users' table."""


class RefreshToken(tokens.RefreshToken):  # type: ignore[misc]
    """simplejwt's class of this name, with the blocklist of this project in place of a table.

    It has a ``sid``, and so has every token created from it: revoking one of them ends them all.
    """

    @classmethod
    def for_user(cls, user: Any) -> "RefreshToken":
        """Returns a new token, the first of its session."""
        token: RefreshToken = super().for_user(user)
        token["sid"] = uuid4().hex
        return token

    def verify(self, *args: Any, **kwargs: Any) -> None:
        """Also rejects revoked tokens."""
        with _readable():
            super().verify(*args, **kwargs)
        _require_good(self, ("refresh",))

    def blacklist(self) -> None:
        """Uses the token up; durable when it returns. Of several concurrent calls, one succeeds."""
        if not blocklist().revoke_once(_with_id(self)):
            raise _RevokedError


class SlidingToken(tokens.SlidingToken):  # type: ignore[misc]
    """simplejwt's class of this name, with the blocklist of this project in place of a table."""

    def verify(self, *args: Any, **kwargs: Any) -> None:
        """Also rejects revoked tokens."""
        with _readable():
            super().verify(*args, **kwargs)
        _require_good(self, ("sliding",))

    def blacklist(self) -> None:
        """Revokes the token; durable when it returns."""
        blocklist().revoke(_with_id(self))


class TokenObtainPairSerializer(serializers.TokenObtainPairSerializer):  # type: ignore[misc]
    """simplejwt's class of this name, for pairs of tokens that end together."""

    token_class = RefreshToken


class TokenRefreshSerializer(serializers.TokenRefreshSerializer):  # type: ignore[misc]
    """simplejwt's class of this name, which also rejects revoked refresh tokens."""

    token_class = RefreshToken


class TokenVerifySerializer(serializers.TokenVerifySerializer):  # type: ignore[misc]
    """simplejwt's class of this name, which also rejects revoked tokens of any kind."""

    def validate(self, attrs: dict[str, Any]) -> Any:
        """Also rejects revoked tokens."""
        with _readable():
            validated = super().validate(attrs)
            token = tokens.UntypedToken(attrs["token"])
        _require_good(token, None)
        return validated


class TokenBlacklistSerializer(serializers.TokenBlacklistSerializer):  # type: ignore[misc]
    """simplejwt's class of this name, which ends the whole session of the refresh token."""

    token_class = RefreshToken

    def validate(self, attrs: dict[str, Any]) -> Any:
        """Revokes the token and its session."""
        blocklist().revoke(_with_id(self.token_class(attrs["refresh"])))
        return {}


class TokenObtainSlidingSerializer(serializers.TokenObtainSlidingSerializer):  # type: ignore[misc]
    """simplejwt's class of this name, for sliding tokens of this module."""

    token_class = SlidingToken


class TokenRefreshSlidingSerializer(serializers.TokenRefreshSlidingSerializer):  # type: ignore[misc]
    """simplejwt's class of this name, which also rejects revoked sliding tokens."""

    token_class = SlidingToken


class _RevokedError(TokenError):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__("The token has been revoked.")


@contextmanager
def _readable() -> Iterator[None]:
    """Treats a token with a time that simplejwt cannot read, such as milliseconds, as invalid."""
    try:
        yield
    except (ArithmeticError, OSError, TypeError, ValueError) as error:
        raise TokenError("Token is invalid") from error


def _require_good(token: Any, types: tuple[str, ...] | None) -> None:
    """Raises a `TokenError` unless a verified token is acceptable (see `is_acceptable`), and not revoked."""
    try:
        header = kind.header_of(token.token)
        if not is_acceptable(types, header, token.payload, settings.ADIEU.get("skew", SKEW)):
            raise TokenError("Token has wrong type, or is from the future")
        if blocklist().is_revoked(_with_id(token), kid=header.get("kid")):
            raise _RevokedError
    except errors.InvalidClaimsError as error:
        raise TokenError("Token is invalid") from error


def _with_id(token: Any) -> dict[str, Any]:
    """Returns the payload, with the id of the token where `adieu` looks for it."""
    claim = api_settings.JTI_CLAIM or "jti"
    if claim not in token.payload:
        return {**token.payload, "jti": token_id_of(token.token)}
    jti = token.payload[claim]
    if jti is None:
        raise errors.InvalidClaimsError(f"the claim {claim} must be text")
    return token.payload if claim == "jti" else {**token.payload, "jti": jti}


def _require_views_that_check() -> None:
    """Raises if a view of simplejwt itself is configured: it would accept revoked tokens."""
    for setting, ours in SERIALIZERS.items():
        if str(getattr(api_settings, setting)).startswith("rest_framework_simplejwt."):
            raise ImproperlyConfigured(
                f"SIMPLE_JWT: {setting} must be {ours}, or its view would accept revoked tokens; "
                "begin with {**SERIALIZERS, ...} from adieu.simplejwt"
            )


def _require_authentication_that_checks(**_: Any) -> None:
    """Raises if an authentication class of simplejwt, or derived from it, is configured that accepts revoked tokens."""
    for each in rest_settings.DEFAULT_AUTHENTICATION_CLASSES:
        if issubclass(each, authentication.JWTAuthentication) and not issubclass(each, _NotRevoked):
            raise ImproperlyConfigured(
                "REST_FRAMEWORK: DEFAULT_AUTHENTICATION_CLASSES must be of adieu.django or derived from it, "
                f"and not {each.__module__}.{each.__qualname__}"
            )


# Runs while the project starts, because the module of every view imports the authentication classes.
_require_views_that_check()
try:
    _require_authentication_that_checks()
except ImportError:
    # The module of such a class imports this one. It will have been loaded when the first request begins.
    request_started.connect(_require_authentication_that_checks)
