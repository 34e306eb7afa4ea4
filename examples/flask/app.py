"""A REST API for stores, their items and tags, with users who log in and out.

Settings are taken from the environment: DATABASE_URL, and JWT_SECRET_KEY with at least 32 bytes.
"""

import os
from collections.abc import Callable
from typing import Any

from flask import Flask, jsonify
from flask.typing import ResponseReturnValue
from flask_jwt_extended import JWTManager
from flask_smorest import Api

from blocklist import BLOCKLIST
from models import db
from resources import items, stores, tags, users

# The first user to register is the administrator.
ADMIN = "1"


def create_app() -> Flask:
    """Creates the application. `flask create-tables` creates its tables, once."""
    app = Flask(__name__)
    app.config.update(
        API_TITLE="Stores",
        API_VERSION="v1",
        OPENAPI_VERSION="3.0.3",
        OPENAPI_URL_PREFIX="/",
        JWT_SECRET_KEY=os.environ["JWT_SECRET_KEY"],
        PROPAGATE_EXCEPTIONS=False,
        SQLALCHEMY_DATABASE_URI=os.environ.get("DATABASE_URL", "sqlite:///stores.db"),
    )
    db.init_app(app)
    app.cli.command("create-tables")(db.create_all)
    api = Api(app)
    for resources in (users, stores, items, tags):
        api.register_blueprint(resources.blueprint)
    answer_for_tokens(JWTManager(app))
    return app


def answer_for_tokens(jwt: JWTManager) -> None:
    """Sets the claims of a token, the check for revocation, and the responses to rejected tokens."""

    @jwt.additional_claims_loader
    def claims(identity: str) -> dict[str, bool]:
        return {"is_admin": identity == ADMIN}

    @jwt.token_in_blocklist_loader
    def is_revoked(_header: dict[str, Any], payload: dict[str, Any]) -> bool:
        return BLOCKLIST.is_revoked(payload)

    def refuse(loader: Callable[..., Any], error: str, **text: str) -> None:
        def answer(*_args: object) -> ResponseReturnValue:
            return jsonify(error=error, **text), 401

        loader(answer)

    refuse(jwt.revoked_token_loader, "token_revoked", description="The token has been revoked.")
    refuse(jwt.expired_token_loader, "token_expired", message="The token has expired.")
    refuse(jwt.invalid_token_loader, "invalid_token", message="Signature verification failed.")
    refuse(
        jwt.unauthorized_loader,
        "authorization_required",
        description="Request does not contain an access token.",
    )
    refuse(jwt.needs_fresh_token_loader, "fresh_token_required", description="The token is not fresh.")
