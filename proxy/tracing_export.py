"""Where spans go: batches, by OTLP over HTTP, from a thread of its own. Requests wait for none of it."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from proxy.log import logger

_PATH = "/v1/traces"
# A full queue drops many spans a second; the log says it now and then.
_DROP_LOG_EVERY = 10.0


def check_environment() -> None:
    """Raise ValueError if the variables OTEL_* ask for what spans can't be made or sent with."""
    # Of others it warns, and quotes them: one of these is a token.
    logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
    SpanLimits()
    Exports("http://localhost").processor.shutdown()


class Exports:
    """Sends spans to a receiver. What it can't take is dropped: the queue is bounded.

    The thread is started here, and ended by `close`. The environment variables OTEL_BSP_* and OTEL_EXPORTER_OTLP_* bear
    on it, as they do everywhere. Raises ValueError if they can't be followed.
    """

    def __init__(self, endpoint: str) -> None:
        exporter = OTLPSpanExporter(endpoint=endpoint + _PATH, meter_provider=NoOpMeterProvider())
        self._exporter = _Watched(exporter)
        self.processor = _Queue(self._exporter)

    async def close(self, within: float) -> None:
        """Send what is queued, `within` so many seconds; give up what is left then."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def shut_down() -> None:
            self.processor.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody has waited for so long
                loop.call_soon_threadsafe(ended.set)

        # Not of the loop's pool, whose threads are waited for at the exit, however long a receiver hangs.
        threading.Thread(target=shut_down, name="tracing shutdown", daemon=True).start()
        try:
            async with asyncio.timeout(within):
                await ended.wait()
        except TimeoutError:
            self._exporter.shutdown()  # ends the waits between tries; and what is queued is not tried at all
            logger().warning("tracing_export_given_up")


class _Queue(BatchSpanProcessor):
    """Says in the log how many spans did not fit: of itself the queue lets the oldest ones go, and nobody knows."""

    def __init__(self, exporter: SpanExporter) -> None:
        super().__init__(exporter, meter_provider=NoOpMeterProvider())
        self._dropped = 0
        self._told_at = -_DROP_LOG_EVERY

    def on_end(self, span: ReadableSpan) -> None:
        queue = self._batch_processor._queue  # noqa: SLF001 - it tells nobody else that it is full
        if len(queue) == queue.maxlen:
            self._dropped += 1
            if time.monotonic() - self._told_at >= _DROP_LOG_EVERY:
                self._tell()
        super().on_end(span)

    def shutdown(self) -> None:
        self._tell()
        super().shutdown()  # type: ignore[no-untyped-call]

    def _tell(self) -> None:
        if self._dropped:
            logger().warning("tracing_spans_dropped", count=self._dropped)
            self._dropped = 0
            self._told_at = time.monotonic()


class _Watched(SpanExporter):
    """Says in the log when an exporter begins to fail, and when that is over: its own words could quote anything."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._is_failing = False
        self._is_over = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if self._is_over:  # given up, which the log says
            return result
        if failed and not self._is_failing:
            logger().warning("tracing_export_failed")
        elif self._is_failing and not failed:
            logger().info("tracing_export_works_again")
        self._is_failing = failed
        return result

    def shutdown(self) -> None:
        self._is_over = True
        self._exporter.shutdown()
