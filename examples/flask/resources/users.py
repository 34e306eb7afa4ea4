"""Registering, logging in, and logging out."""

from typing import Any
from uuid import uuid4

from flask.views import MethodView
from flask_jwt_extended import create_access_token, create_refresh_token, get_jwt, get_jwt_identity, jwt_required
from flask_smorest import Blueprint, abort
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from werkzeug.security import check_password_hash, generate_password_hash

import schemas
from blocklist import BLOCKLIST
from models import User, db

blueprint = Blueprint("users", __name__)


@blueprint.post("/register")
@blueprint.arguments(schemas.User)
@blueprint.response(201)
def register(user: dict[str, str]) -> dict[str, str]:
    """Creates a user."""
    db.session.add(User(username=user["username"], password=generate_password_hash(user["password"])))
    try:
        db.session.commit()
    except IntegrityError:
        abort(409, message="A user with that username already exists.")
    return {"message": "User created successfully."}


@blueprint.post("/login")
@blueprint.arguments(schemas.User)
@blueprint.response(200)
def log_in(given: dict[str, str]) -> dict[str, str]:
    """Returns an access token, which is fresh, and a refresh token. All tokens of a login have a common `sid`."""
    user = db.session.scalar(select(User).where(User.username == given["username"]))
    if user is None or not check_password_hash(user.password, given["password"]):
        abort(401, message="Invalid credentials.")
    identity, session = str(user.id), {"sid": str(uuid4())}
    return {
        "access_token": create_access_token(identity, fresh=True, additional_claims=session),
        "refresh_token": create_refresh_token(identity, additional_claims=session),
    }


@blueprint.post("/refresh")
@jwt_required(refresh=True)
def refresh() -> dict[str, str]:
    """Returns an access token, which is not fresh. A refresh token works once."""
    if not BLOCKLIST.revoke_once(get_jwt()):
        abort(401, message="The refresh token has been used.")
    session = {"sid": get_jwt()["sid"]}
    return {"access_token": create_access_token(get_jwt_identity(), fresh=False, additional_claims=session)}


@blueprint.post("/logout")
@jwt_required(verify_type=False)
def log_out() -> dict[str, str]:
    """Ends the session of the request's token, which may be an access or a refresh token."""
    BLOCKLIST.revoke(get_jwt())
    return {"message": "Successfully logged out"}


@blueprint.route("/user/<int:user_id>")
class OneUser(MethodView):
    """A user."""

    @blueprint.response(200, schemas.User)
    def get(self, user_id: int) -> User:
        """Shows a user."""
        return db.get_or_404(User, user_id)

    def delete(self, user_id: int) -> dict[str, Any]:
        """Deletes a user."""
        db.session.delete(db.get_or_404(User, user_id))
        db.session.commit()
        return {"message": "User deleted."}
