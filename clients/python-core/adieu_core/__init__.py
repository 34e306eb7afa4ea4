"""The compiled core of the package `adieu`, which is its only caller."""

from adieu_core.adieu_core import *  # noqa: F403
