"""The shape of a configuration file. These types *are* the contract: validation, defaults, the JSON Schema for editors
and the reference in `docs/configuration.md` all come from them. Values are in base units once loaded.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from guardian.model import Mode, Signal
from guardian.units import Bytes, Cores, Ratio, Seconds, Share

Off = Literal["off"]


class Base(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every section is frozen and refuses unknown keys."""


class EngineConfig(Base, frozen=True, kw_only=True):
    url: Annotated[str, Meta(description="auto (DOCKER_HOST, else the local socket), unix:///…, tcp://… or simulated")] = "auto"
    timeout: Annotated[Seconds, Meta(description="deadline of one API call; a stop has its own: stop timeout + this")] = (
        Seconds(5)
    )


class HostConfig(Base, frozen=True, kw_only=True):
    memory: Annotated[
        Bytes | None, Meta(description="what the platform may use of a larger host; adds the signal platform_memory")
    ] = None
    cpu: Annotated[Cores | None, Meta(description="likewise in cores; adds the signal platform_cpu")] = None


class SamplingConfig(Base, frozen=True, kw_only=True):
    host: Annotated[Seconds, Meta(description="how often the host is read")] = Seconds(1)
    containers: Annotated[Seconds, Meta(description="how often containers are read while all is ok; faster as it worsens")] = (
        Seconds(5)
    )
    source: Annotated[Literal["auto", "engine", "cgroups"], Meta(description="where container use is read")] = "auto"


class Thresholds(Base, frozen=True, kw_only=True):
    """Of one shedding signal. soft ≥ hard and recover ≥ soft are mistakes."""

    soft: Annotated[Ratio, Meta(description="at or above this for soft_for: soft")]
    hard: Annotated[Ratio, Meta(description="at or above this for hard_for: hard")]
    recover: Annotated[Ratio, Meta(description="below this for recover_for: ok")]
    soft_for: Seconds = Seconds(10)
    hard_for: Seconds = Seconds(0)
    recover_for: Seconds = Seconds(60)


class SupportThresholds(Base, frozen=True, kw_only=True):
    """Of a signal that can only support memory: it has no hard mark."""

    soft: Ratio
    recover: Ratio
    soft_for: Seconds = Seconds(10)
    recover_for: Seconds = Seconds(60)


class DiskThresholds(Base, frozen=True, kw_only=True):
    soft: Ratio
    hard: Ratio
    recover: Ratio
    soft_for: Seconds = Seconds(10)
    hard_for: Seconds = Seconds(0)
    recover_for: Seconds = Seconds(60)


MEMORY = Thresholds(soft=Ratio(0.80), soft_for=Seconds(10), hard=Ratio(0.90), recover=Ratio(0.70), recover_for=Seconds(60))
CPU = Thresholds(
    soft=Ratio(0.85), soft_for=Seconds(60), hard=Ratio(0.97), hard_for=Seconds(20), recover=Ratio(0.65), recover_for=Seconds(60)
)
SWAP = SupportThresholds(soft=Ratio(0.60), soft_for=Seconds(30), recover=Ratio(0.40), recover_for=Seconds(60))
MEMORY_PRESSURE = SupportThresholds(soft=Ratio(0.20), soft_for=Seconds(10), recover=Ratio(0.05), recover_for=Seconds(60))
DISK = DiskThresholds(soft=Ratio(0.85), hard=Ratio(0.95), recover=Ratio(0.80))


class ThresholdsConfig(Base, frozen=True, kw_only=True):
    """A key that is partly given (only `soft`, say) keeps the default of the rest: the loader merges before it validates."""

    memory: Thresholds | Off = MEMORY
    cpu: Thresholds | Off = CPU
    swap: SupportThresholds | Off = SWAP
    memory_pressure: SupportThresholds | Off = MEMORY_PRESSURE
    disk: DiskThresholds | Off = DISK
    platform_memory: Annotated[Thresholds | Off | None, Meta(description="as memory unless set")] = None
    platform_cpu: Annotated[Thresholds | Off | None, Meta(description="as cpu unless set")] = None

    def of(self, signal: Signal) -> Thresholds | SupportThresholds | DiskThresholds | None:
        """The thresholds in force for `signal`; None where it is off."""
        value = getattr(self, signal.value)
        if value is None:
            value = self.memory if signal is Signal.PLATFORM_MEMORY else self.cpu
        return None if value == "off" else value


class SheddingConfig(Base, frozen=True, kw_only=True):
    settle: Annotated[Seconds, Meta(description="how long relief may take to show after a victim is gone")] = Seconds(5)
    hard_grace: Annotated[Seconds, Meta(description="longest stop timeout under hard memory")] = Seconds(3)
    horizon: Annotated[
        Seconds, Meta(description="memory that would be full within this, at its fill rate, is hard at once")
    ] = Seconds(10)
    startup_grace: Annotated[Seconds, Meta(description="a container this young is no CPU victim")] = Seconds(120)
    max_per_hour: Annotated[int, Meta(ge=0, description="soft sheds in an hour, at most")] = 20


class Backoff(Base, frozen=True, kw_only=True):
    min: Seconds = Seconds(60)
    max: Seconds = Seconds(3600)


class RestoringConfig(Base, frozen=True, kw_only=True):
    enabled: bool = True
    margin: Annotated[Ratio, Meta(description="room left under soft after a restore")] = Ratio(0.05)
    stable_for: Annotated[Seconds, Meta(description="running this long counts as up where there is no health check")] = Seconds(
        15
    )
    probation: Annotated[Seconds, Meta(description="how long a restored service ranks first in its phase")] = Seconds(120)
    backoff: Backoff = field(default_factory=Backoff)
    max_flaps: Annotated[int, Meta(ge=1, description="a day; then quarantine")] = 5


class Budget(Base, frozen=True, kw_only=True):
    """Cumulative: what phases 1..n may use together."""

    memory: Bytes | None = None
    cpu: Annotated[Share | None, Meta(description="a share of the whole capacity (25%), or cores (1.5 cores)")] = None
    storage: Bytes | None = None


class PhaseConfig(Base, frozen=True, kw_only=True):
    phase: Annotated[int, Meta(ge=1)]
    name: str = ""
    protected: Annotated[bool, Meta(description="never shed, an emergency aside")] = False
    mode: Annotated[Mode, Meta(description="observe: watched only, while others are enforced")] = Mode.ENFORCE
    budget: Budget = field(default_factory=Budget)
    services: tuple[str, ...] = ()


class Resources(Base, frozen=True, kw_only=True):
    memory: Bytes | None = None
    cpus: Cores | None = None


class ServiceConfig(Base, frozen=True, kw_only=True):
    limits: Resources = field(default_factory=Resources)
    reservations: Resources = field(default_factory=Resources)
    stop_timeout: Seconds | None = None
    priority: Annotated[int | None, Meta(description="within its phase, the lowest is shed first; default 0")] = None
    kill: Annotated[
        Literal["allow", "never"], Meta(description="never: keep its whole stop timeout, whatever the pressure")
    ] = "allow"
    protect: Annotated[bool | None, Meta(description="absolute: not even in an emergency")] = None
    requires: Annotated[
        tuple[str, ...], Meta(description="hard dependencies: they take this service's phase and protection along")
    ] = ()
    on_pressure: Annotated[Literal["stop", "throttle"], Meta(description="throttle: CPU pressure lowers its quota first")] = (
        "stop"
    )
    health: dict[str, Any] | None = None  # given meaning by a later release; kept as written


class EmergencyConfig(Base, frozen=True, kw_only=True):
    enabled: bool = False
    keep: tuple[str, ...] = ()


class TlsConfig(Base, frozen=True, kw_only=True):
    cert: str
    key: str


class AuthConfig(Base, frozen=True, kw_only=True):
    username: str
    password_file: str


class WebConfig(Base, frozen=True, kw_only=True):
    listen: Annotated[str, Meta(description="host:port of /metrics, /healthz, /readyz, /api/v1/status; read-only")] = (
        "127.0.0.1:9877"
    )
    control: Annotated[str, Meta(description="Unix socket for orders, mode 0660")] = "/run/guardian/control.sock"
    tls: TlsConfig | None = None
    auth: AuthConfig | None = None
    insecure: bool = False


class LogConfig(Base, frozen=True, kw_only=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


class Config(Base, frozen=True, kw_only=True):
    version: Literal[1]
    phases: Annotated[tuple[PhaseConfig, ...], Meta(min_length=1)]
    mode: Annotated[Mode, Meta(description="observe: decide and report, never act; enforce: act")] = Mode.OBSERVE
    project: Annotated[str | tuple[str, ...] | None, Meta(description="Compose project, or a list of them")] = None
    containers: Annotated[tuple[str, ...], Meta(description="lone containers, by name")] = ()
    engine: EngineConfig = field(default_factory=EngineConfig)
    host: HostConfig = field(default_factory=HostConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    source: Annotated[
        Literal["auto", "engine", "cgroups"] | None, Meta(description="the same as sampling.source, which it overrides")
    ] = None
    thresholds: ThresholdsConfig = field(default_factory=ThresholdsConfig)
    shedding: SheddingConfig = field(default_factory=SheddingConfig)
    dependencies: Annotated[
        Literal["order", "inherit"],
        Meta(description="order: depends_on orders stops and starts; inherit: it counts as requires"),
    ] = "order"
    restoring: RestoringConfig = field(default_factory=RestoringConfig)
    services: dict[str, ServiceConfig] = field(default_factory=dict)
    emergency: EmergencyConfig = field(default_factory=EmergencyConfig)
    target_phase: Annotated[int | None, Meta(ge=0)] = None
    objectives: dict[str, Any] | None = None  # given meaning by a later release; kept as written
    notify: tuple[dict[str, Any], ...] = ()  # likewise
    reload: Literal["thresholds", "all", "none"] = "thresholds"
    state_dir: str = "/var/lib/guardian"
    web: WebConfig = field(default_factory=WebConfig)
    log: LogConfig = field(default_factory=LogConfig)

    @property
    def projects(self) -> tuple[str, ...]:
        if self.project is None:
            return ()
        return (self.project,) if isinstance(self.project, str) else self.project

    def phase_of(self, name: str) -> PhaseConfig | None:
        """The phase that lists the service `name`."""
        return next((phase for phase in self.phases if name in phase.services), None)
