#!/bin/sh
# Stops the server when it is removed, not when it is upgraded. dpkg passes `remove`, rpm `0`.
set -e
if [ -d /run/systemd/system ] && { [ "$1" = remove ] || [ "$1" = 0 ]; }; then
    # Without its socket, which would start the service again.
    systemctl disable --now adieu.socket adieu.service
fi
