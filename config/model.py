"""The configuration as a whole: what the operator says. Every key, its default and its documentation stand in
this module and its `model_*` siblings, once."""

from typing import Self

from pydantic import ValidationInfo, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from config import checks
from config.fields import ResourceName, Section, UpstreamName, key
from config.model_resource import BulkConfig, FreshnessConfig, ResourceConfig, SingleConfig
from config.model_service import (
    AuditConfig,
    HandshakeConfig,
    LimitsConfig,
    LogConfig,
    MemoryConfig,
    OpsConfig,
    RefreshConfig,
    SharingConfig,
    StoreConfig,
    TracingConfig,
    WebhooksConfig,
)
from config.model_upstream import CircuitConfig, UpstreamConfig

__all__ = [
    "AuditConfig",
    "BulkConfig",
    "CircuitConfig",
    "Config",
    "FreshnessConfig",
    "HandshakeConfig",
    "LimitsConfig",
    "LogConfig",
    "MemoryConfig",
    "OpsConfig",
    "RefreshConfig",
    "ResourceConfig",
    "SharingConfig",
    "SingleConfig",
    "StoreConfig",
    "TracingConfig",
    "UpstreamConfig",
    "WebhooksConfig",
]


class Config(Section):
    """The effective configuration; valid as a whole, or pydantic's ValidationError names every place."""

    upstreams: dict[UpstreamName, UpstreamConfig] = key(
        {}, "The services behind the proxy, by name; at least one."
    )
    resources: dict[ResourceName, ResourceConfig] = key(
        {}, "The kinds of entities that are cached, by name. What no resource claims is passed through."
    )
    handshake: HandshakeConfig = key(HandshakeConfig(), "The handshake API.")
    ops: OpsConfig = key(OpsConfig(), "Health and metrics.")
    webhooks: WebhooksConfig = key(WebhooksConfig(), "Events from the upstream.")
    sharing: SharingConfig = key(SharingConfig(), "Copies that each credential has of its own.")
    store: StoreConfig = key(StoreConfig(), "The database.")
    memory: MemoryConfig = key(MemoryConfig(), "The memory tier.")
    refresh: RefreshConfig = key(RefreshConfig(), "The background refresher.")
    audit: AuditConfig = key(AuditConfig(), "Comparing what was served with the upstream.")
    limits: LimitsConfig = key(LimitsConfig(), "Bounds.")
    lane: bool = key(
        default=True,
        doc="The fast lane; false changes speed only, and leaves its sixteenth of memory.max_bytes to entities.",
    )
    log: LogConfig = key(LogConfig(), "The log.")
    tracing: TracingConfig = key(TracingConfig(), "Traces, by OpenTelemetry.")

    @property
    def tells_credentials_apart(self) -> bool:
        """Whether any resource keeps copies for each credential: `sharing.key_file` is of no use without."""
        return any(resource.sharing == "per_credential" for resource in self.resources.values())

    @model_validator(mode="after")
    def _fits_together(self, info: ValidationInfo) -> Self:
        # The loader runs the cross checks itself, so that they are reported beside errors in single fields.
        if info.context is checks.SEPARATELY:
            return self
        findings = checks.find(self)
        if findings:
            lines: list[InitErrorDetails] = [
                {
                    "type": PydanticCustomError("cross_check", "{message}", {"message": found.message}),
                    "loc": found.path,
                    "input": None,
                }
                for found in findings
            ]
            raise ValidationError.from_exception_data("Config", lines, hide_input=True)
        return self
