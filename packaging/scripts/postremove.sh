#!/bin/sh
# Deletes the data when the package is purged. The user stays: another one with its number would own what it left elsewhere.
set -e
if [ "$1" = purge ]; then
    rm -rf /var/lib/adieu
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
