"""A real OTLP receiver: takes what an exporter sends over HTTP, and gives back the spans in it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.tools.serving import serving


class OtlpReceiver:
    def __init__(self) -> None:
        self.url = ""
        self.resources: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self._spans: list[Span] = []
        self._lock = threading.Lock()

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/v1/traces")
        async def traces(request: Request) -> Response:
            body = await request.body()
            assert request.headers["content-type"] == "application/x-protobuf"
            sent = ExportTraceServiceRequest.FromString(body)
            with self._lock:
                self.bodies.append(body)
                for resource in sent.resource_spans:
                    self.resources.append(attributes(resource.resource))
                    self._spans += [span for scope in resource.scope_spans for span in scope.spans]
            return Response(media_type="application/x-protobuf")

        return app

    @property
    def spans(self) -> list[Span]:
        """In the order in which they began."""
        with self._lock:
            return sorted(self._spans, key=lambda span: span.start_time_unix_nano)

    def named(self, beginning: str) -> Span:
        (span,) = [span for span in self.spans if span.name.startswith(beginning)]
        return span


def attributes(of: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in of.attributes}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(part) for part in value.array_value.values]
    return getattr(value, str(kind))


@contextmanager
def otlp_receiver() -> Iterator[OtlpReceiver]:
    receiver = OtlpReceiver()
    with serving(receiver.app()) as url:
        receiver.url = url
        yield receiver
