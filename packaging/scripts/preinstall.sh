#!/bin/sh
# Creates the system user; the settings file belongs to its group.
set -e
if ! getent passwd adieu >/dev/null; then
    useradd --system --user-group --home-dir /var/lib/adieu --no-create-home --shell /usr/sbin/nologin adieu
fi
