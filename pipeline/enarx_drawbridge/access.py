"""Who may read and write what (Drawbridge 0.4): the one place where that is decided.

| what                    | who                                                                                |
|-------------------------|------------------------------------------------------------------------------------|
| a user, a repository    | the user's owner: who has a token for the subject that registered the name         |
| tags and trees, reading | everybody where the repository is public; else the owner, by a token with a scope, |
|                         | and a Keep, of the one tag whose tree is the package that its certificate names    |
| tags and trees, writing | the owner                                                                          |

Whoever may not see a repository is not told whether it is there.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from . import keeps
from .database import Repository
from .errors import Forbidden, NotFound, Unauthorized
from .policy import Policy
from .store import Store
from .tokens import Identity, Tokens

Level = Literal["read", "write", "manage"]
What = Literal["users", "repositories", "tags"]

_SCHEME: Final = "bearer"


class Caller(NamedTuple):
    """What a request says of who makes it."""

    authorization: str
    """The header, or nothing."""
    certificate: bytes | None
    """The client's certificate (DER), if TLS took one."""


class Access:
    """Decides. Safe to use from many threads."""

    def __init__(self, store: Store, policy: Policy) -> None:
        self._store = store
        self._policy = policy
        self._tokens = Tokens(policy.oidc) if policy.oidc else None

    def identify(self, caller: Caller, level: Level, what: What) -> Identity:
        """Who the caller is, with a token that is for this. Raises `Unauthorized`, `Unavailable`."""
        scheme, _, token = caller.authorization.partition(" ")
        if scheme.lower() != _SCHEME or not token.strip():
            raise Unauthorized("Bearer token header missing")
        if self._tokens is None:
            raise Unauthorized(
                "Invalid token provided: this registry has no [oidc] in its policy, and believes no token"
            )
        identity = self._tokens.identify(token.strip())
        if not identity.may(level, f"drawbridge_{what}"):
            raise Unauthorized(f"Token is missing a scope for level {level}, context drawbridge_{what}")
        return identity

    def owner(self, caller: Caller, user: str, level: Level, what: What) -> Identity:
        """Who the caller is, if that is the owner of a user's name. Raises `Unauthorized`, `Unavailable`."""
        identity = self.identify(caller, level, what)
        found = self._store.user(user)
        if found is None:
            raise Unauthorized(f"User `{user}` not found")
        if found.subject != identity.subject:
            raise Unauthorized(f"You are logged in as `{identity.subject}`, and not authorized for user `{user}`")
        return identity

    def owned(self, caller: Caller, user: str, name: str, level: Level, what: What) -> Repository:
        """A repository of the caller's. Raises `Unauthorized`, `NotFound`."""
        self.owner(caller, user, level, what)
        found = self._store.repository(user, name)
        if found is None:
            raise NotFound("Repository does not exist")
        return found

    def readable(self, caller: Caller, user: str, name: str, tag: str | None = None) -> Repository:
        """A repository whose tags the caller may read: of a Keep, the one `tag`. Raises `Unauthorized`, `Forbidden`."""
        found = self._store.repository(user, name)
        if found is not None and found.public:
            return found
        if caller.certificate is not None and not caller.authorization:
            return self._for_keep(caller.certificate, found, tag)
        return self.owned(caller, user, name, "read", "repositories")

    def _for_keep(self, certificate: bytes, found: Repository | None, tag: str | None) -> Repository:
        if self._policy.keeps is None:
            raise Forbidden("Certificates are not believed here")
        package = keeps.package_of(certificate, self._policy.keeps, datetime.now(UTC))
        keeps.require(package, self._root(found, tag))
        assert found is not None  # noqa: S101 — it has the root
        return found

    def _root(self, found: Repository | None, tag: str | None) -> str | None:
        if found is None or tag is None:
            return None
        try:
            return self._store.tag(found, tag).root.hex
        except NotFound:
            return None
