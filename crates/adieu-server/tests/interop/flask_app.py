"""An application with Flask-JWT-Extended, as its documentation has it.

Reads its settings as one line of JSON: `config`, for Flask; and `adieu`, where there is a node to ask who has logged
out. Says where it listens, and goes on until it is killed.
"""

import json
import sys

from cryptography.hazmat.primitives import serialization
from flask import Flask, jsonify
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    get_jwt,
    get_jwt_identity,
    jwt_required,
)
from werkzeug.serving import make_server

settings = json.loads(sys.stdin.readline())

app = Flask(__name__)
app.config.update(settings["config"])
if "JWT_PRIVATE_KEY" in app.config:
    private_key = serialization.load_pem_private_key(app.config["JWT_PRIVATE_KEY"].encode(), password=None)
    app.config["JWT_PUBLIC_KEY"] = private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
jwt = JWTManager(app)

if "adieu" in settings:
    from adieu.flask import Blocklist

    blocklist = Blocklist(**settings["adieu"])
    blocklist.protect(jwt)


@jwt.additional_claims_loader
def claims(identity):
    return {"is_admin": identity == "1"}


@app.post("/login")
def log_in():
    return jsonify(access_token=create_access_token("1", fresh=True), refresh_token=create_refresh_token("1"))


@app.post("/refresh")
@jwt_required(refresh=True)
def refresh():
    return jsonify(access_token=create_access_token(get_jwt_identity(), fresh=False))


@app.get("/me")
@jwt_required()
def me():
    return jsonify(identity=get_jwt_identity(), is_admin=get_jwt()["is_admin"])


@app.get("/fresh")
@jwt_required(fresh=True)
def fresh():
    return jsonify(identity=get_jwt_identity())


@app.post("/logout")
@jwt_required(verify_type=False)
def log_out():
    blocklist.revoke(get_jwt())
    return jsonify(message="Successfully logged out")


server = make_server("127.0.0.1", 0, app, threaded=True)
print(f"listening on http://127.0.0.1:{server.port}", flush=True)
server.serve_forever()
