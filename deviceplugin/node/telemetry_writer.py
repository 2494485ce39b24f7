"""Writes what the driver says of the GPUs, for the exporter, which doesn't talk to the driver itself."""

import contextlib
import logging
import math
from collections.abc import Sequence
from pathlib import Path

from unigpu import logs, telemetry
from unigpu.telemetry import GpuTelemetry, Telemetry
from unigpu_node import files

logger = logging.getLogger(__name__)

_SPARE = 5.0
"""Seconds by which a sample may be late."""


class TelemetryWriter:
    """The one writer of `telemetry.json`."""

    def __init__(self, folder: Path, interval: float) -> None:
        """`interval`: seconds between two samples."""
        self._file = folder / telemetry.TELEMETRY_FILE
        self._valid = min(math.ceil(2 * interval + _SPARE), telemetry.MAX_VALID)
        self._problem = ""

    def write(self, gpus: Sequence[GpuTelemetry] | None) -> None:
        """Write one sample; None: the driver doesn't answer, and there is none. A failure is logged once."""
        try:
            if gpus is None:
                with contextlib.suppress(FileNotFoundError):
                    self._file.unlink()
            else:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                files.write(self._file, telemetry.dump(Telemetry(gpus, self._valid)).encode())
            self._problem = ""
        except OSError as error:
            if str(error) != self._problem:
                logs.event(logger, "telemetry not written", logging.WARNING, file=self._file, reason=error)
            self._problem = str(error)
