"""The revoked tokens, kept by Adieu: known to every process, and after every restart."""

import os

from adieu.flask import Blocklist

BLOCKLIST = Blocklist(os.environ["BLOCKLIST_URL"], os.environ["BLOCKLIST_CLIENT"], os.environ["BLOCKLIST_SECRET"])
