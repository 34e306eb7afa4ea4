"""The core's look-ups are those of the class itself, and this changes nothing for a caller."""

import inspect
import json
import os
import subprocess
import sys
import time
import types
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from adieu_server import Credentials, Server
from conftest import TEST_TIMEOUT, new_id

from adieu import Blocklist, StaleError

Follow = Callable[..., Blocklist]


def payload() -> dict[str, Any]:
    return {"jti": new_id(), "sid": new_id(), "sub": "jose", "exp": int(time.time()) + 900}


class Counting(Blocklist):
    """Looks up with methods of its own, and those of the class."""

    looked_up = 0

    def __contains__(self, jti: object) -> bool:
        self.looked_up += 1
        return super().__contains__(jti)

    def is_revoked(
        self, payload: Mapping[str, Any], token: str | bytes | None = None, *, kid: str | None = None
    ) -> bool:
        self.looked_up += 1
        return super().is_revoked(payload, token, kid=kid)


def test_the_core_answers_without_a_function_of_python(
    shared_server: Server, shared_client: Credentials, follow: Follow, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(Blocklist.is_revoked, types.MethodDescriptorType)
    assert isinstance(Blocklist.__contains__, types.WrapperDescriptorType)
    blocklist, one = follow(shared_server.url, shared_client), payload()
    blocklist.revoke(one)

    def unexpected(*_: object, **__: object) -> bool:
        raise AssertionError("Python was asked")

    for name in ("_is_revoked", "_contains"):
        monkeypatch.setattr(blocklist, name, unexpected, raising=False)
    questions: list[Callable[[], bool]] = [
        lambda: blocklist.is_revoked(one),
        lambda: one["jti"] in blocklist,
        lambda: not blocklist.is_revoked(payload(), kid="kid"),
        lambda: new_id() not in blocklist,
    ]
    for ask in questions:
        if backend == "core":
            assert ask()
        else:
            with pytest.raises(AssertionError):
                ask()


@pytest.mark.pure
def test_the_documentation_is_that_of_the_implementation_in_python() -> None:
    pure: Any = Blocklist.__mro__[2]
    assert inspect.signature(Blocklist).parameters.keys() == inspect.signature(pure).parameters.keys()
    assert Blocklist.__doc__ == pure.__doc__
    assert (Blocklist.__module__, Blocklist.__qualname__) == ("adieu.blocklist", "Blocklist")
    assert inspect.getdoc(Blocklist.is_revoked) == inspect.getdoc(pure.is_revoked)
    ours, theirs = (list(inspect.signature(each.is_revoked).parameters.values()) for each in (Blocklist, pure))
    assert [(each.name, each.kind, each.default) for each in ours[1:]] == [
        (each.name, each.kind, each.default) for each in theirs[1:]
    ]


def test_a_subclass_may_look_up_by_itself(server: Server, client: Credentials) -> None:
    with Counting(server.url, client.name, client.secret) as blocklist:
        blocklist.wait_ready(TEST_TIMEOUT)
        one, other = payload(), payload()
        blocklist.revoke(one)
        assert [blocklist.is_revoked(one), blocklist.is_revoked(other)] == [True, False]
        assert [one["jti"] in blocklist, other["jti"] in blocklist] == [True, False]
        assert blocklist.looked_up == 4


def test_a_lookup_can_be_replaced(
    shared_server: Server, shared_client: Credentials, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocklist, one = follow(shared_server.url, shared_client), payload()
    assert not blocklist.is_revoked(one)
    monkeypatch.setattr(Blocklist, "is_revoked", lambda *_: True)
    assert blocklist.is_revoked(one)
    monkeypatch.undo()
    monkeypatch.setattr(blocklist, "is_revoked", lambda _: True)
    assert blocklist.is_revoked(one)


def test_every_lookup_of_a_closed_one_is_refused(
    shared_server: Server, shared_client: Credentials, follow: Follow
) -> None:
    blocklist, one = follow(shared_server.url, shared_client), payload()
    blocklist.revoke(one)
    blocklist.close()
    assert blocklist.is_revoked(one)
    assert one["jti"] in blocklist
    with pytest.raises(StaleError):
        blocklist.is_revoked(payload())
    with pytest.raises(StaleError):
        new_id() in blocklist  # noqa: B015


def test_the_claim_that_names_the_user_is_that_of_the_blocklist(
    server: Server, client: Credentials, follow: Follow
) -> None:
    blocklist = follow(server.url, client, subject_claim="user")
    blocklist.revoke_subject("ann")
    earlier = {**payload(), "iat": int(time.time()) - 60}
    assert blocklist.is_revoked({**earlier, "user": "ann"})
    assert not blocklist.is_revoked({**earlier, "user": "bob", "sub": "ann"})


PROGRAM = """
import json, os, sys
import adieu
later = sys.argv[1]
os.environ["ADIEU_PURE"] = later
with adieu.Blocklist(os.environ["URL"], "shop", os.environ["SECRET"]) as blocklist:
    blocklist.wait_ready(60)
    blocklist.add("known")
    print(json.dumps([blocklist.backend, "known" in blocklist, "other" in blocklist]))
"""


@pytest.mark.pure
@pytest.mark.parametrize("at_import", ["0", "1"])
@pytest.mark.parametrize("later", ["0", "1"])
def test_the_core_can_be_turned_on_and_off_after_the_import(
    server: Server, client: Credentials, at_import: str, later: str
) -> None:
    environment = {**os.environ, "URL": server.url, "SECRET": client.secret, "ADIEU_PURE": at_import}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, later], env=environment, check=True, capture_output=True, text=True
    )
    assert json.loads(done.stdout) == ["core" if later == "0" else "pure", True, False]
