"""Who may write: people who gave the token once, each with a name, until the server ends."""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

COOKIE = "contimg_session"
_MOST = 1000


@dataclass(frozen=True)
class Visitor:
    """Somebody who may write.

    Attributes
    ----------
    name : what stands as author
    form_token : what every form of theirs carries, so that no page elsewhere can send one in their name
    """

    name: str
    form_token: str


@dataclass
class Visitors:
    """All who may write.

    Attributes
    ----------
    token : what they must know; nobody may write if there is none
    """

    token: str | None
    _present: OrderedDict[str, Visitor] = field(default_factory=OrderedDict)

    def admit(self, token: str, name: str) -> str | None:
        """The key of somebody's session, for a cookie; None if the token is wrong."""
        if self.token is None or not hmac.compare_digest(token.strip().encode(), self.token.encode()):
            return None
        key = secrets.token_urlsafe(32)
        self._present[key] = Visitor(name, secrets.token_urlsafe(32))
        while len(self._present) > _MOST:
            self._present.popitem(last=False)
        return key

    def of(self, request: HTTPConnection) -> Visitor | None:
        """Who asks; None if it is nobody that may write."""
        return self._present.get(request.cookies.get(COOKIE, ""))

    def dismiss(self, request: HTTPConnection) -> None:
        """End the session of who asks."""
        self._present.pop(request.cookies.get(COOKIE, ""), None)
