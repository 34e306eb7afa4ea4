"""For Django REST framework with simplejwt.

In the settings of the project::

    ADIEU = {"url": "https://adieu.example.org", "client_id": "shop", "secret": os.environ["BLOCKLIST_SECRET"]}
    REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["adieu.django.JWTAuthentication"]}
    SIMPLE_JWT = {
        "TOKEN_REFRESH_SERIALIZER": "adieu.django.TokenRefreshSerializer",
        "TOKEN_BLACKLIST_SERIALIZER": "adieu.django.TokenBlacklistSerializer",
    }

``ADIEU`` takes every argument of `adieu.Blocklist`. A view logs its caller out with
``blocklist().revoke(request.auth.payload)``.
"""

from functools import cache
from typing import Any

from django.conf import settings
from rest_framework.exceptions import APIException
from rest_framework_simplejwt import authentication, serializers, tokens
from rest_framework_simplejwt.exceptions import InvalidToken, TokenError
from rest_framework_simplejwt.settings import api_settings

from adieu import blocklist as core
from adieu import errors


class _Answered503(APIException):  # type: ignore[misc]
    status_code = 503
    default_code = "unavailable"
    # What REST framework makes Retry-After of.
    wait = 1

    def __init__(self, why: str) -> None:
        # The reason is for the log: it names the node and its state.
        super().__init__("Please try again.")
        self.args = (why,)


class StaleError(_Answered503, errors.StaleError):
    """`adieu.StaleError`, answered 503."""


class UnavailableError(_Answered503, errors.UnavailableError):
    """`adieu.UnavailableError`, answered 503."""


class Blocklist(core.Blocklist):
    """`adieu.Blocklist` for applications made with Django REST framework."""

    stale_error = StaleError
    unavailable_error = UnavailableError


@cache
def blocklist() -> Blocklist:
    """The one of this project, made from the setting ``ADIEU`` when it is first asked for."""
    return Blocklist(**{"subject_claim": api_settings.USER_ID_CLAIM, **settings.ADIEU})


class _NotRevoked:
    def get_validated_token(self, raw_token: bytes) -> Any:
        """The token, verified. Revoked ones are answered 401."""
        token = super().get_validated_token(raw_token)  # type: ignore[misc]
        if blocklist().is_revoked(token.payload):
            raise InvalidToken({"detail": "The token has been revoked.", "code": "token_revoked"})
        return token


class JWTAuthentication(_NotRevoked, authentication.JWTAuthentication):  # type: ignore[misc]
    """simplejwt's, for tokens that are not revoked."""


class JWTStatelessUserAuthentication(_NotRevoked, authentication.JWTStatelessUserAuthentication):  # type: ignore[misc]
    """simplejwt's without a look at the users' table, for tokens that are not revoked."""


class RefreshToken(tokens.RefreshToken):  # type: ignore[misc]
    """simplejwt's, with this project's blocklist in place of a table in its database."""

    def verify(self, *args: Any, **kwargs: Any) -> None:
        """Also refuses what is revoked."""
        super().verify(*args, **kwargs)
        if blocklist().is_revoked(self.payload):
            raise TokenError("The token has been revoked.")

    def blacklist(self) -> None:
        """Revokes it; durable when it returns."""
        blocklist().revoke(self.payload)


class TokenRefreshSerializer(serializers.TokenRefreshSerializer):  # type: ignore[misc]
    """simplejwt's, for refresh tokens that are not revoked."""

    token_class = RefreshToken


class TokenBlacklistSerializer(serializers.TokenBlacklistSerializer):  # type: ignore[misc]
    """simplejwt's: revokes the refresh token that it is given."""

    token_class = RefreshToken
