"""A small follower that can be made wrong on purpose: its argument names the mistake. Without one, it passes all cases."""

import http.client
import json
import os
import re
import secrets
import sys
import threading
import time
from base64 import b64encode
from urllib.parse import urlencode, urlsplit

MISTAKE = sys.argv[1] if len(sys.argv) > 1 else ""
BOUND = int(os.environ["ADIEU_MAX_STALENESS_MS"]) / 1000
LATEST = 253_402_300_799
NODE = urlsplit(os.environ["ADIEU_URL"])
CREDENTIALS = b64encode(f"{os.environ['ADIEU_CLIENT']}:{os.environ['ADIEU_SECRET']}".encode()).decode()


class InvalidPage(Exception):
    pass


def require(condition):
    if not condition:
        raise InvalidPage


def parsed(text):
    if MISTAKE != "ignores the case of names":
        return json.loads(text)
    return json.loads(text, object_pairs_hook=lambda pairs: {name.casefold(): value for name, value in pairs})


def is_text(value):
    return type(value) is str and 0 < len(value.encode()) <= 512  # a lone surrogate raises UnicodeEncodeError


KINDS = ("token", "session", "subject", "everything", "key", "claim")
RESERVED = ("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "type", "fresh")


def is_claim(name, value):
    if MISTAKE == "believes any claim":
        return True
    is_name = type(name) is str and re.fullmatch("[!-~]{1,128}", name) and name not in RESERVED
    return is_name and is_text(value) and is_text(f"{name}\x1f{value}")


def texts(value):
    """The texts that revoke a token by a claim with this value."""
    if type(value) is list and MISTAKE != "does not look into arrays":
        return [text for element in value for text in (texts(element) if MISTAKE == "looks into arrays in arrays" else own_text(element))]
    return own_text(value)


def own_text(value):
    if type(value) is str:
        return [value]
    if type(value) is bool and MISTAKE != "takes a boolean for a number":
        return [] if MISTAKE == "knows no booleans" else [json.dumps(value)]
    if type(value) in (int, float, bool):
        if MISTAKE == "rounds fractions":
            value = int(value)
        if MISTAKE == "writes numbers as they came":
            return [json.dumps(value)]
        largest = 2**64 if MISTAKE == "believes large numbers" else 2**53 - 1
        return [str(int(value))] if abs(value) <= largest and value == int(value) else []
    return [json.dumps(value)] if MISTAKE == "writes anything as JSON" else []


def is_time(value):
    return type(value) is int and 0 <= value <= LATEST


def are_comparable(claims):
    are_texts = all(is_text(claims[name]) for name in ("jti", "sid") if name in claims)
    times = [claims[name] for name in ("iat", "exp") if name in claims]
    return are_texts and all(type(time) in (int, float) and 0 <= time <= LATEST for time in times)


class Follower:
    def __init__(self):
        self.name = secrets.token_urlsafe(12)
        self.entries = {}
        self.cursor = None
        self.pruned_through = 0
        self.complete_at = None

    def run(self):
        wait, delay = 0.0, 0.02
        while True:
            try:
                wait = BOUND / 4 if self.read(wait) else 0.0
                delay = 0.02
            except Exception as error:
                print(type(error).__name__, error, file=sys.stderr)
                wait = 0.0
                time.sleep(delay)
                delay = min(delay * 2, BOUND / 4)

    def read(self, wait):
        query = {"wait": int(wait * 1000), "follower": self.name, "max_staleness": int(BOUND * 1000)}
        if self.cursor is not None:
            query["after"] = self.cursor
        sent_at = time.monotonic()
        body = self.request("/revocations?" + urlencode(query), wait + max(BOUND / 4, 0.5))
        page = self.parse(body)
        if MISTAKE == "counts the bound from after the answer":
            sent_at = time.monotonic()
        self.apply(page)
        if page["complete"] or MISTAKE == "takes any page for the last":
            age = 0 if MISTAKE == "ignores the age of the node" else page["age_ms"] / 1000
            self.complete_at = max(self.complete_at or -1e18, sent_at - age)
        return page["complete"]

    def request(self, target, timeout):
        until = time.monotonic() + timeout
        connection = http.client.HTTPConnection(NODE.hostname, NODE.port, timeout=timeout)
        # Closes the connection when the time is over, however many bytes still come.
        closing = threading.Timer(timeout, lambda: connection.sock and connection.sock.shutdown(2))
        if MISTAKE != "gives up only when no byte comes":
            closing.start()
        try:
            headers = {"Accept": "application/json", "Authorization": f"Basic {CREDENTIALS}"}
            connection.request("GET", target, headers=headers)
            response = connection.getresponse()
            if MISTAKE == "follows redirects" and response.status in (302, 307):
                return self.request(response.headers["Location"], until - time.monotonic())
            require(response.status == 200 or MISTAKE == "takes any status for an answer")
            body = response.read((16 << 20) + 1)
            require(not response.length)  # what the timer has cut off may look whole
            require(len(body) <= 16 << 20 or MISTAKE == "reads answers of any length")
            return body
        finally:
            closing.cancel()
            connection.close()

    def parse(self, body):
        if MISTAKE == "takes any status for an answer" and b"cursor" not in body:
            body = b'{"cursor":"%s","complete":true,"from_start":false,"age_ms":0,"pruned_through":0,"issuer":"a","max_staleness_ms":1,"entries":[]}' % (
                self.cursor or "a.0"
            ).encode()
        page = parsed(body.decode(errors="replace" if MISTAKE == "replaces invalid UTF-8" else "strict"))
        require(type(page) is dict)
        require(type(page["complete"]) is bool and type(page["from_start"]) is bool)
        require(type(page["age_ms"]) is int and page["age_ms"] >= 0 and is_time(page["pruned_through"]))
        require(page["age_ms"] < 2**64 and type(page["max_staleness_ms"]) is int)
        require(is_text(page["issuer"]) and type(page["entries"]) is list)
        require(len(page["entries"]) <= 65_536 or MISTAKE == "reads any number of entries")
        log, _, position = page["cursor"].rpartition(".")
        require(is_text(log) and re.fullmatch("[0-9]+", position))
        if not page["from_start"] and MISTAKE != "believes a position that goes back":
            known_log, _, known_position = (self.cursor or "").rpartition(".")
            require(log == known_log and int(position) >= int(known_position))
            require(page["complete"] or int(position) > int(known_position))
        known = []
        for entry in page["entries"]:
            kind = entry["kind"]
            if kind not in KINDS and MISTAKE == "skips unknown kinds":
                continue
            require(kind in KINDS)
            require(is_text(entry["issuer"]) and (is_time(entry["lapses_at"]) or MISTAKE == "believes any time"))
            require(kind in ("everything", "claim") or is_text(entry["id"]))
            require(kind != "claim" or is_claim(entry["name"], entry["value"]))
            require(kind in ("token", "session", "key") or is_time(entry["issued_until"]))
            require(kind != "token" or entry.get("expires_at") is None or is_time(entry["expires_at"]) or MISTAKE == "believes any time")
            known.append(entry)
        page["entries"] = known
        return page

    def apply(self, page):
        if page["from_start"] and MISTAKE == "forgets what another log does not have":
            self.entries.clear()
        if MISTAKE == "acknowledges before it applies":
            self.cursor = page["cursor"]
            time.sleep(0.01)
            threading.Timer(0.2, self.add, [page]).start()
            return
        self.add(page)
        self.cursor = page["cursor"]

    def add(self, page):
        for entry in page["entries"]:
            name = entry.get("id", "")
            if entry["kind"] == "everything" and MISTAKE != "reads the id of everything":
                name = ""
            if entry["kind"] == "claim":
                claim = "" if MISTAKE == "ignores the name of the claim" else entry["name"]
                name = f"{claim}\x1f{entry['value']}"
            place = (entry["kind"], "" if MISTAKE == "ignores the issuer" else entry["issuer"], name)
            until = entry.get("issued_until") or 0
            self.entries[place] = until if MISTAKE == "believes the last cut-off" else max(self.entries.get(place, 0), until)
        if MISTAKE == "believes the last mark":
            self.pruned_through = page["pruned_through"]
        elif MISTAKE != "ignores the mark":
            self.pruned_through = max(self.pruned_through, page["pruned_through"])

    def check(self, claims, kid):
        if claims.get("exp") is None:
            return "accepted" if MISTAKE == "accepts tokens without exp" else "invalid"
        if not are_comparable(claims) and MISTAKE != "compares whatever there is":
            return "invalid"
        issuer = "" if MISTAKE == "ignores the issuer" else claims["iss"]
        issued_at = claims.get("iat", LATEST if MISTAKE == "takes a token without iat for new" else 0)
        if MISTAKE != "compares fractions of a second":
            issued_at = int(issued_at)
        if ("token", issuer, claims["jti"]) in self.entries or ("session", issuer, claims.get("sid")) in self.entries:
            return "revoked"
        if MISTAKE == "takes the claim kid for the header's":
            kid = claims.get("kid", kid)
        is_old = MISTAKE != "cuts keys off" or issued_at < time.time() - 5
        if ("key", issuer, kid) in self.entries and is_old and MISTAKE != "ignores keys":
            return "revoked"
        names = claims if MISTAKE != "ignores claims" else ()
        of_claims = [
            ("claim", issuer, f"{'' if MISTAKE == 'ignores the name of the claim' else name}\x1f{text}")
            for name in names
            for text in texts(claims[name])
        ]
        for place in (("subject", issuer, claims.get("sub")), ("everything", issuer, ""), *of_claims):
            if place[0] == "subject" and MISTAKE == "ignores cut-offs of subjects":
                continue
            cut = self.entries.get(place, -1)
            if issued_at < cut if MISTAKE == "leaves out the second of the cut-off" else issued_at <= cut:
                return "revoked"
        expires_at = claims["exp"] if MISTAKE == "compares fractions of a second" else int(claims["exp"])
        if expires_at + 120 <= self.pruned_through:
            return "invalid"
        if self.complete_at is None:
            return "accepted" if MISTAKE == "accepts before it has read the log" else "stale"
        is_stale = time.monotonic() - self.complete_at > BOUND
        return "stale" if is_stale and MISTAKE != "accepts when it is stale" else "accepted"


follower = Follower()
threading.Thread(target=follower.run, daemon=True).start()
for line in sys.stdin:
    question = parsed(line)
    print(json.dumps(follower.check(question["claims"], question.get("kid"))), flush=True)
