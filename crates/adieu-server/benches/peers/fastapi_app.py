"""FastAPI with PyJWT, as FastAPI's documentation describes it, and a lookup in Redis."""

import os
from typing import Annotated

import jwt
from fastapi import Depends, FastAPI, HTTPException, Response
from fastapi.security import OAuth2PasswordBearer
from redis.asyncio import Redis

SECRET = os.environ["SECRET"]
redis = Redis.from_url(os.environ["REDIS_URL"])
oauth2_scheme = OAuth2PasswordBearer(tokenUrl="login")
app = FastAPI()


async def current_token(token: Annotated[str, Depends(oauth2_scheme)]) -> dict:
    try:
        payload = jwt.decode(token, SECRET, algorithms=["HS256"])
    except jwt.InvalidTokenError:
        raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"}) from None
    if await redis.exists(payload["jti"]):
        raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})
    return payload


@app.get("/verify")
async def verify(_: Annotated[dict, Depends(current_token)]) -> Response:
    return Response(status_code=204)
