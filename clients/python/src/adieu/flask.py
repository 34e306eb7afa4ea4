"""For Flask and Flask-JWT-Extended.

The errors of this `Blocklist` are also Werkzeug's: a view in which one is raised is answered 503 with ``Retry-After``,
also under flask-smorest and Flask-RESTful, with no error handler to register.
"""

from collections.abc import Mapping
from typing import Any

from flask_jwt_extended import JWTManager
from werkzeug.exceptions import ServiceUnavailable

from adieu import blocklist, errors


class _Answered503(ServiceUnavailable):
    def __init__(self, why: str) -> None:
        # The reason is for the log: it names the node and its state.
        super().__init__("Please try again.", retry_after=1)
        self.args = (why,)
        # What flask-smorest makes its answer of; it leaves the headers of the exception out.
        self.data = {"message": self.description, "headers": {"Retry-After": "1"}}


class StaleError(_Answered503, errors.StaleError):
    """`adieu.StaleError`, answered 503."""


class UnavailableError(_Answered503, errors.UnavailableError):
    """`adieu.UnavailableError`, answered 503."""


class Blocklist(blocklist.Blocklist):
    """`adieu.Blocklist` for applications made with Flask."""

    stale_error = StaleError
    unavailable_error = UnavailableError

    def protect(self, jwt: JWTManager) -> None:
        """Asks for every token that Flask-JWT-Extended verifies, access and refresh tokens alike."""

        @jwt.token_in_blocklist_loader
        def is_revoked(_header: Mapping[str, Any], payload: Mapping[str, Any]) -> bool:
            return self.is_revoked(payload)
