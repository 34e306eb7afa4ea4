"""Answers the questions of `adieu-follower-conformance`: `Blocklist.is_revoked`, as an application calls it."""

import json
import os
import sys

from adieu import Blocklist, InvalidClaimsError, StaleError


def verdict(blocklist: Blocklist, claims: dict[str, object], kid: str | None = None) -> str:
    try:
        return "revoked" if blocklist.is_revoked(claims, kid=kid) else "accepted"
    except StaleError:
        return "stale"
    except InvalidClaimsError:
        return "invalid"


def main() -> None:
    # The address and the credentials are in the environment, where the client looks for them. The application has an
    # issuer of its own: an id that is revoked for this one counts for the tokens of all, so that `in` finds it too.
    bound = int(os.environ["ADIEU_MAX_STALENESS_MS"]) / 1000
    with Blocklist(issuer="application", max_staleness=bound, start_timeout=0) as blocklist:
        for line in sys.stdin:
            print(json.dumps(verdict(blocklist, **json.loads(line))), flush=True)


main()
