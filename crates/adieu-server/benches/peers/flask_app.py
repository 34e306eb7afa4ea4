"""Flask-JWT-Extended with its blocklist in Redis, as its documentation describes it."""

import os

from flask import Flask
from flask_jwt_extended import JWTManager, jwt_required
from redis import Redis

app = Flask(__name__)
app.config["JWT_SECRET_KEY"] = os.environ["SECRET"]
jwt = JWTManager(app)
redis = Redis.from_url(os.environ["REDIS_URL"])


@jwt.token_in_blocklist_loader
def check_if_token_is_revoked(_header, payload):
    return redis.get(payload["jti"]) is not None


@app.get("/verify")
@jwt_required()
def verify():
    return "", 204
