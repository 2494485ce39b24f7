"""Structured logs: one line for each event, plain for people or JSON for machines, with the same fields in both."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

_RESERVED = "unigpu_fields"
_MOMENT = "unigpu_moment"
_ENCODER = json.JSONEncoder(default=str)
"""Made once: json.dumps would make one for each line."""


def _moment(record: logging.LogRecord) -> datetime:
    """Return when it happened, which may be before it was logged."""
    return datetime.fromtimestamp(getattr(record, _MOMENT, None) or record.created, UTC)


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = getattr(record, _RESERVED, {})
        moment = _moment(record).strftime("%H:%M:%S.%f")[:-3]
        words = " ".join(f"{key}={value}" for key, value in fields.items())
        text = f"{moment} {record.levelname.lower():7} {record.getMessage()} {words}".rstrip()
        return text + (f"\n{self.formatException(record.exc_info)}" if record.exc_info else "")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, Any] = {
            "time": _moment(record).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, _RESERVED, {}),
        }
        if record.exc_info:
            document["error"] = self.formatException(record.exc_info)
        return _ENCODER.encode(document)


def configure(*, as_json: bool, level: str = "info") -> None:
    """Send the records of all loggers to stderr. `level` is one of logging's level names, in upper or lower case."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if as_json else _Plain())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


def event(
    logger: logging.Logger, what: str, level: int = logging.INFO, *, at: float | None = None, **fields: object
) -> None:
    """Log an event, with its inputs as fields.

    `at`, in seconds since 1970, is when it happened; without it, now. Give it where others can act on what happened
    before this line is written: their lines would come first otherwise.
    """
    logger.log(level, what, extra={_RESERVED: fields, _MOMENT: at})
