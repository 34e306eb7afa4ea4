"""The authentication of Django REST framework by `adieu.Verifier`, without simplejwt: signature, claims and revocation.

In the settings of the project::

    ADIEU = {"url": "https://adieu.example.org", "client_id": "shop", "secret": secret, "issuer": "adieu"}
    REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["adieu.drf.VerifierAuthentication"]}

``ADIEU`` accepts every argument of `adieu.Verifier`. In a view, ``request.auth`` has the claims, and
``verifier().blocklist.revoke(request.auth, request.auth.token)`` logs the caller out.
"""

from functools import cache
from typing import Any

from django.conf import settings
from django.http import JsonResponse
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import APIException, AuthenticationFailed

from adieu import blocklist as core
from adieu import errors
from adieu import verifier as checks
from adieu.index import claims_of


class _Answered503(APIException):  # type: ignore[misc]
    status_code = 503
    default_code = "unavailable"
    # REST framework derives Retry-After from this.
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


class Verifier(checks.Verifier):
    """`adieu.Verifier` for applications made with Django REST framework."""

    blocklist_class = Blocklist


@cache
def verifier() -> Verifier:
    """Returns the verifier of this project, created from the setting ``ADIEU`` at the first call."""
    return Verifier(**settings.ADIEU)


def readiness(_: Any = None) -> JsonResponse:
    """Answers a readiness probe: ``path("readyz", readiness)``."""
    body, status = verifier().readiness()
    return JsonResponse(body, status=status)


class TokenUser:
    """The user that a token names in the `subject_claim` of the verifier; it is not read from the database."""

    is_authenticated = True
    is_active = True
    is_anonymous = False
    is_staff = False
    is_superuser = False

    def __init__(self, claims: checks.Claims) -> None:
        self.claims = claims
        # In the form in which the subject is revoked.
        self.pk = self.id = str(claims_of(claims, verifier().blocklist._subject_claim)[3])

    def __str__(self) -> str:
        return self.pk


class VerifierAuthentication(BaseAuthentication):  # type: ignore[misc]
    """Lets callers in whose bearer token is a good access token; otherwise 401, or 503 if the revocations are stale."""

    def authenticate(self, request: Any) -> tuple[Any, checks.Claims] | None:
        """Returns the user and the claims of the token, or none if the request has no bearer token."""
        token = _bearer(request)
        if token is None:
            return None
        try:
            claims = verifier().verify(token)
        except errors.TokenError as error:
            raise AuthenticationFailed({"detail": "The token is not accepted.", "code": error.code}) from error
        return self.get_user(claims), claims

    def authenticate_header(self, request: Any) -> str:
        """Returns the challenge of a response with status 401."""
        # RFC 6750 section 3.1: no error code if the request has no token.
        return 'Bearer error="invalid_token"' if _bearer(request) else "Bearer"

    def get_user(self, claims: checks.Claims) -> Any:
        """Returns the user that the claims name; override it to read the user from the database."""
        return TokenUser(claims)


def _bearer(request: Any) -> bytes | None:
    scheme, _, token = get_authorization_header(request).partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else None
