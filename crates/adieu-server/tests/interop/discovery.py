"""Configures Authlib and PyJWT from the URL of an issuer alone.

    discovery.py ISSUER CLIENT SECRET TOKEN

Verifies the token with PyJWT's PyJWKClient, introspects and revokes it with Authlib, and prints what each said as one line of JSON.
"""

import json
import sys

import jwt
import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url

issuer, client_id, secret, token = sys.argv[1:]
found = requests.get(get_well_known_url(issuer, external=True, suffix="oauth-authorization-server"), timeout=10)
metadata = AuthorizationServerMetadata(found.json())
# `validate` as a whole would demand https, and an endpoint for authorization.
metadata.validate_grant_types_supported()
metadata.validate_revocation_endpoint_auth_methods_supported()
metadata.validate_introspection_endpoint_auth_methods_supported()

key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(token)
claims = jwt.decode(token, key, algorithms=["EdDSA"], issuer=issuer, audience="shop")

session = OAuth2Session(client_id, secret)


def active():
    return session.introspect_token(metadata["introspection_endpoint"], token=token).json()["active"]


before = active()
revoked = session.revoke_token(metadata["revocation_endpoint"], token=token, token_type_hint="access_token")
print(json.dumps({"subject": claims["sub"], "Authlib": [before, revoked.status_code, active()]}))
