"""Chooses what follows and looks up: the compiled core (``pip install "adieu[fast]"``), or this package itself.

Both have the same interface, the same verdicts and the same errors. ``ADIEU_PURE=1`` turns the core off.
"""

import os
import ssl
import sys
from types import ModuleType
from typing import Any, TypeVar

from adieu.follower import logger
from adieu.node import VERSION

_T = TypeVar("_T", bound=type[Any])

_told: set[str] = set()


def looked_up_by_core(blocklist: _T) -> _T:
    """Puts the look-ups of the core before those of a class, so that a call enters the core without a frame of Python.

    The core calls the methods of the class for what it does not answer.
    """
    core, _ = _core(None)
    if core is None:
        return blocklist
    kept = {name: getattr(blocklist, name) for name in ("__doc__", "__module__", "__qualname__")}
    own = {"_contains": blocklist.__contains__, "_is_revoked": blocklist.is_revoked}
    return type(blocklist.__name__, (core.Lookups, blocklist), {**kept, **own})  # type: ignore[return-value]


def core_for(ssl_context: ssl.SSLContext | None) -> ModuleType | None:
    """Returns the core, or none if it is missing, turned off, or cannot be used; logs the choice once."""
    core, why = _core(ssl_context)
    message = (
        "revocations are looked up by the compiled core" if core else f"revocations are looked up in Python: {why}"
    )
    if message not in _told:
        _told.add(message)
        logger.info(message)
    return core


def _core(ssl_context: ssl.SSLContext | None) -> tuple[ModuleType | None, str]:
    if os.environ.get("ADIEU_PURE", "0") not in ("", "0"):
        return None, "ADIEU_PURE is set"
    if ssl_context is not None:
        return None, "an ssl_context is for Python alone; ca_file is for both"
    if "uwsgi" in sys.modules:
        return None, "uWSGI forks without notifying Python"
    try:
        import adieu_core
    except ImportError as error:
        return None, str(error)
    if adieu_core.__version__ != VERSION:
        return None, f"adieu_core is version {adieu_core.__version__}, and must be {VERSION}"
    return adieu_core, ""
