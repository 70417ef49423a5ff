"""The clock, and ids: 32 hex digits that sort by the time of their making (UUID version 7)."""

import secrets
import threading
import time
from datetime import UTC, datetime

_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """A new id, greater than every id that this process has made before.

    The last 12 digits are random bits.
    """
    global _last  # noqa: PLW0603  # ids must rise even when the clock does not
    with _lock:
        # 48 bits of milliseconds and 12 bits of fraction
        _last = max(_last + 1, (time.time_ns() << 12) // 1_000_000)
        ticks = _last
    ms, fraction = ticks >> 12, ticks & 0xFFF
    value = ms << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | secrets.randbits(62)
    return f"{value:032x}"


def now() -> datetime:
    """The time, aware and in UTC."""
    return datetime.now(UTC)
