"""Services as others write them: Authlib proves who they are, PyJWT verifies what they are given."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import jwt
import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT

from tests.stories.conftest import System

GRANT = "client_credentials"


class ServiceSession(OAuth2Session):
    """Calls by paths, with the access token that it has got for itself."""

    def request(self, method: str, url: str, **more: Any) -> requests.Response:
        return super().request(method, urljoin(self.metadata["issuer"], url), **{"timeout": 20, **more})


@dataclass(frozen=True)
class Service:
    """A service with its credential: a secret, or a private key (a JWK). `where` is the discovery document."""

    name: str
    secret: Any
    where: Mapping[str, Any]

    def session(self, way: str = "client_secret_basic") -> ServiceSession:
        """Without a token yet; `way` is how it proves itself (RFC 7591, section 2)."""
        session = ServiceSession(
            self.name,
            self.secret,
            token_endpoint_auth_method=way,
            revocation_endpoint_auth_method=way,
            issuer=self.where["issuer"],
            token_endpoint=self.where["token_endpoint"],
        )
        session.register_client_auth_method(self._signature())
        return session

    def _signature(self) -> PrivateKeyJWT:
        # By itself Authlib signs for an hour, and five minutes are the most that is taken.
        soon = {"exp": int(time.time()) + 60}
        return PrivateKeyJWT(self.where["token_endpoint"], claims=soon, alg="ES256")

    def granted(self, *scopes: str) -> ServiceSession:
        """With a token for these scopes, or for all that it may."""
        session = self.session()
        session.fetch_token(grant_type=GRANT, scope=" ".join(scopes) or None)
        return session

    def introspected(self, token: str) -> Any:
        with self.session() as session:
            return session.introspect_token(self.where["introspection_endpoint"], token).json()


def commands_of(system: System) -> Service:
    """The service that the commands of an embedded system call as."""
    where = system.api.get("/.well-known/oauth-authorization-server").json()
    secret = system.settings.client_secret
    assert secret is not None
    return Service(system.settings.client_id, secret.get_secret_value(), where)


@dataclass(frozen=True)
class Verifier:
    """What whoever is given a token has: the key set of the issuer, and their own name."""

    where: Mapping[str, Any]
    keys: jwt.PyJWKClient

    def claims(self, token: str, *, audience: str) -> dict[str, Any]:
        """What the token says; raises jwt.PyJWTError where it is not to be believed."""
        key = self.keys.get_signing_key_from_jwt(token)
        return jwt.decode(
            token,
            key,
            algorithms=["ES256"],
            audience=audience,
            issuer=self.where["issuer"],
            options={"require": ["exp", "iat", "sub", "aud", "iss", "jti", "client_id"]},
        )
