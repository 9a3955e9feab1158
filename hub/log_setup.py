"""Service logs: JSON lines on a pipe or in a file, readable lines on a terminal."""

import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

import structlog
from structlog.typing import Processor

#: Bytes of a log file before it is put aside, and how many are kept beside it.
_FILE_BYTES = 10 * 1024**2
_FILES_KEPT = 3


def set_up_logging(level: str, *, log_file: Path | None = None) -> None:
    """Configure structlog, and send what libraries log through the standard library the same way.

    Lines go to standard error, or to a file that rotates.
    """
    handler: logging.Handler
    if log_file is None:
        handler = logging.StreamHandler(sys.stderr)
        on_terminal = sys.stderr.isatty()
    else:
        handler = RotatingFileHandler(log_file, maxBytes=_FILE_BYTES, backupCount=_FILES_KEPT, encoding="utf-8")
        on_terminal = False
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering: list[Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if on_terminal
        # ensure_ascii keeps terminal codes and other control characters out of whatever shows the log.
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=True)]
    )
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    # What they say of requests and reloads, our own lines say with what it means for the hub.
    for chatty in ("aiohttp.access", "watchfiles"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    # Each lost connection is an error with a traceback to these, and one line of ours.
    for alarmed in ("aio_pika", "aiormq"):
        logging.getLogger(alarmed).setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
