"""Ctrl-C once: a second one must not end the clean-up that the first has begun."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class FirstInterrupt:
    """Within the block the first SIGINT does what it always does, and those after it nothing; then all is as before.

    The handler is in place before the first one comes, so there is no moment between the two. Threads other than the
    main one get no signals, and there the block changes nothing.
    """

    def __init__(self) -> None:
        self._before: Any = None
        self._seen = False

    def __enter__(self) -> FirstInterrupt:
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread() and callable(before):
            self._before = before
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._seen:
            return
        # A handler that does not raise has ended nothing, and the next one is as good as the first.
        try:
            self._before(number, frame)
        except BaseException:
            self._seen = True
            raise
