"""The ids of tokens that were logged out, in a set: known to this process alone, and only while it runs."""

BLOCKLIST: set[str] = set()
