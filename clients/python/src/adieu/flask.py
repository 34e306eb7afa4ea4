"""The integration for Flask and Flask-JWT-Extended.

The errors of this `Blocklist` are also Werkzeug's: if a view raises one, the response is 503 with ``Retry-After``, also
under flask-smorest and Flask-RESTful, without an error handler.
"""

from collections.abc import Collection, Mapping
from typing import Any

import jwt as pyjwt
from flask import Flask, current_app
from flask_jwt_extended import JWTManager
from werkzeug.exceptions import ServiceUnavailable

from adieu import blocklist, errors, kind
from adieu.acceptance import SKEW, is_acceptable
from adieu.index import token_id_of


class _Answered503(ServiceUnavailable):
    def __init__(self, why: str) -> None:
        # The reason is for the log: it names the node and its state.
        super().__init__("Please try again.", retry_after=1)
        self.args = (why,)
        # flask-smorest builds its response from this, and ignores the headers of the exception.
        self.data = {"message": self.description, "headers": {"Retry-After": "1"}}


class StaleError(_Answered503, errors.StaleError):
    """`adieu.StaleError`, answered 503."""


class UnavailableError(_Answered503, errors.UnavailableError):
    """`adieu.UnavailableError`, answered 503."""


class Blocklist(blocklist.Blocklist):
    """`adieu.Blocklist` for applications made with Flask."""

    stale_error = StaleError
    unavailable_error = UnavailableError

    def protect(self, jwt: JWTManager, *, types: Collection[str] = kind.ACCESS, skew: float = SKEW) -> None:
        """Checks every token that Flask-JWT-Extended verifies, access and refresh tokens alike.

        `types` are the accepted kinds of token in views that do not require refresh tokens: by default access tokens.
        `skew` is how many seconds ``iat`` may be ahead: at most the issuer's ``clock_skew`` at the node.
        The payload of a token without ``jti`` gets an id that is the same everywhere, so that ``get_jwt()`` can be
        revoked.
        """
        usual = kind.checked(types) - {"refresh"}
        decode = jwt._decode_jwt_from_config

        def decode_with_id(encoded_token: str, *args: Any, **options: Any) -> dict[str, Any]:
            payload = decode(encoded_token, *args, **options)
            if payload.get("jti") is None:
                payload["jti"] = token_id_of(encoded_token)
            return payload

        jwt._decode_jwt_from_config = decode_with_id  # type: ignore[method-assign]

        @jwt.token_in_blocklist_loader
        def is_revoked(header: Mapping[str, Any], payload: Mapping[str, Any]) -> bool:
            # Flask-JWT-Extended treats every token that is not a refresh token as an access token.
            expected = ("refresh",) if payload["type"] == "refresh" else usual
            if not is_acceptable(expected, header, payload, skew):
                raise pyjwt.InvalidTokenError("the token is of another kind, or from the future")
            try:
                return self.is_revoked(payload, kid=header.get("kid"))
            except errors.InvalidClaimsError as error:
                raise pyjwt.InvalidTokenError(str(error)) from error


class Adieu:
    """The extension for an application factory: ``adieu = Adieu()``, later ``adieu.init_app(app)``.

    The settings are ``ADIEU_URL``, ``ADIEU_CLIENT`` and ``ADIEU_SECRET`` of the application, or of the environment, and
    ``ADIEU_OPTIONS``, a dictionary of further arguments of `Blocklist`, and of `skew` and `types`, which are those of
    `Blocklist.protect`. By default, `issuer` is that of the tokens, ``JWT_ENCODE_ISSUER`` or ``JWT_DECODE_ISSUER``, and
    `subject_claim` is ``JWT_IDENTITY_CLAIM``.
    """

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Creates the blocklist of the application, and protects its tokens. The JWTManager comes first."""
        jwt = app.extensions.get("flask-jwt-extended")
        if jwt is None:
            raise RuntimeError("initialise JWTManager with this application first")
        place = [app.config.get(f"ADIEU_{name}") for name in ("URL", "CLIENT", "SECRET")]
        issuers = [app.config["JWT_ENCODE_ISSUER"], app.config["JWT_DECODE_ISSUER"]]
        # A list of accepted issuers does not say whose tokens without ``iss`` are.
        issuer = next((each for each in issuers if isinstance(each, str)), None)
        defaults = {"issuer": issuer, "subject_claim": app.config["JWT_IDENTITY_CLAIM"]}
        options = {**defaults, **app.config.get("ADIEU_OPTIONS", {})}
        protection = {name: options.pop(name) for name in ("skew", "types") if name in options}
        blocklist = Blocklist(*place, **options)
        blocklist.protect(jwt, **protection)
        app.extensions["adieu"] = blocklist

    @property
    def blocklist(self) -> Blocklist:
        """The blocklist of the current application."""
        blocklist: Blocklist = current_app.extensions["adieu"]
        return blocklist
