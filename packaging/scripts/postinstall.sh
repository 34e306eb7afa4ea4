#!/bin/sh
# Starts the new version. dpkg passes `configure` and the previous version, rpm the number of installed versions.
# A first installation is started on Debian, and left to the operator elsewhere, as is the custom of each. The socket is enabled by the
# operator only, and stays open during an upgrade.
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    if [ "$1" = configure ] && [ -z "$2" ]; then
        systemctl enable --now adieu.service
    else
        systemctl try-restart adieu.service
    fi
fi
