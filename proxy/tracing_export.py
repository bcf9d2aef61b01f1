"""Where spans go: batches, by OTLP over HTTP, from a thread of its own. Requests wait for none of it."""

import asyncio
import contextlib
import threading
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from proxy.log import logger

_PATH = "/v1/traces"


class Exports:
    """Sends spans to a receiver. What it can't take is dropped: the queue is bounded.

    The thread is started here, and ended by `close`. The environment variables OTEL_BSP_* and OTEL_EXPORTER_OTLP_* bear
    on it, as they do everywhere.
    """

    def __init__(self, endpoint: str) -> None:
        exporter = OTLPSpanExporter(endpoint=endpoint + _PATH, meter_provider=NoOpMeterProvider())
        self._exporter = _Watched(exporter)
        self.processor = BatchSpanProcessor(self._exporter, meter_provider=NoOpMeterProvider())

    async def close(self, within: float) -> None:
        """Send what is queued, `within` so many seconds; give up what is left then."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def shut_down() -> None:
            self.processor.shutdown()  # type: ignore[no-untyped-call]
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
