"""An OpenID Connect provider as a process: discovery, keys, userinfo and the device flow (RFC 8628).

    python oidc_provider.py KEY.pem

It prints its issuer. `Bearer test-token` is the one opaque token that it knows. A device is approved by a request to
the URL that its user is told to open.
"""

from __future__ import annotations

import json
import secrets
import socket
import sys
import time
from pathlib import Path
from urllib.parse import parse_qsl

import jwt
import uvicorn
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

LISTENER = socket.create_server(("127.0.0.1", 0))
ISSUER = f"http://127.0.0.1:{LISTENER.getsockname()[1]}"
KEY = load_pem_private_key(Path(sys.argv[1]).read_bytes(), None)
SUBJECT = "test|subject"
SCOPES = "openid profile manage:drawbridge_users manage:drawbridge_repositories manage:drawbridge_tags"
CLIENT = "enarx-deploy-tests"

devices: dict[str, dict] = {}
refresh_tokens: set[str] = set()
asked: dict[str, int] = {}


def discovery(request: Request) -> Response:
    names = {
        "jwks_uri": "jwks",
        "userinfo_endpoint": "userinfo",
        "token_endpoint": "token",
        "device_authorization_endpoint": "device",
    }
    return JSONResponse({"issuer": ISSUER} | {name: f"{ISSUER}/{path}" for name, path in names.items()})


def jwks(request: Request) -> Response:
    asked["jwks"] = asked.get("jwks", 0) + 1
    key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
    return JSONResponse({"keys": [key | {"kid": "test", "use": "sig", "alg": "RS256"}, {"kty": "unheard-of"}]})


def userinfo(request: Request) -> Response:
    if request.headers.get("authorization") != "Bearer test-token":
        return Response(status_code=401)
    return JSONResponse({"sub": SUBJECT})


async def device(request: Request) -> Response:
    form = dict(parse_qsl((await request.body()).decode()))
    if form.get("client_id") != CLIENT:
        return JSONResponse({"error": "invalid_client"}, status_code=401)
    code, user_code = secrets.token_urlsafe(), secrets.token_hex(4).upper()
    devices[code] = {"user_code": user_code, "audience": form.get("audience", ""), "approved": None}
    return JSONResponse(
        {
            "device_code": code,
            "user_code": user_code,
            "verification_uri": f"{ISSUER}/activate",
            "verification_uri_complete": f"{ISSUER}/activate?user_code={user_code}",
            "expires_in": 60,
            "interval": 1,
        }
    )


def activate(request: Request) -> Response:
    """What the user does in a browser: say yes, or no with `deny`."""
    for one in devices.values():
        if one["user_code"] == request.query_params["user_code"]:
            one["approved"] = "deny" not in request.query_params
            return Response("done")
    return Response(status_code=404)


async def token(request: Request) -> Response:
    form = dict(parse_qsl((await request.body()).decode()))
    if form["grant_type"] == "refresh_token":
        if form["refresh_token"] not in refresh_tokens:
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        refresh_tokens.remove(form["refresh_token"])  # each is good once (RFC 9700, section 4.14.2)
        return JSONResponse(tokens(form.get("audience", "")))
    if form["grant_type"] == "client_credentials":
        if form.get("client_secret") != "not-so-secret":
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        return JSONResponse(tokens(form["audience"]))
    found = devices.get(form["device_code"])
    if found is None or found["approved"] is False:
        return JSONResponse({"error": "access_denied" if found else "expired_token"}, status_code=400)
    if found["approved"] is None:
        return JSONResponse({"error": "authorization_pending"}, status_code=400)
    return JSONResponse(tokens(found["audience"]))


def tokens(audience: str) -> dict[str, object]:
    now, refresh = int(time.time()), secrets.token_urlsafe()
    refresh_tokens.add(refresh)
    claims = {"iss": ISSUER, "aud": audience, "sub": SUBJECT, "iat": now, "exp": now + 600, "scope": SCOPES}
    access = jwt.encode(claims, KEY, algorithm="RS256", headers={"kid": "test"})
    return {"access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": 600}


def count(request: Request) -> Response:
    return JSONResponse(asked)


routes = [
    Route("/.well-known/openid-configuration", discovery),
    Route("/jwks", jwks),
    Route("/userinfo", userinfo),
    Route("/device", device, methods=["POST"]),
    Route("/activate", activate),
    Route("/token", token, methods=["POST"]),
    Route("/count", count),
]

if __name__ == "__main__":
    print(ISSUER, flush=True)
    uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="warning")).run(sockets=[LISTENER])
