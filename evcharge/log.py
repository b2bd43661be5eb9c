"""The platform's log: structlog's, imported with the first line that is written.

structlog also brings what colours a terminal, which takes half a second of processor time. Most processes import modules that
log, and write nothing.
"""

from __future__ import annotations

from typing import Any


class _Log:
    def __getattr__(self, method: str) -> Any:
        import structlog

        return getattr(structlog.get_logger(), method)


#: Its methods are structlog's: `log.info("sessions loaded", rows=7)`.
log = _Log()
