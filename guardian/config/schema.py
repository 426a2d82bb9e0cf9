"""The shape of a configuration file. These types *are* the contract: validation, defaults, the JSON Schema for editors
and the reference in `docs/configuration.md` all come from them. Values are in base units once loaded.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from guardian.config.secret import SecretUrl
from guardian.model import Mode, Signal
from guardian.units import Bytes, Cores, Ratio, Seconds, Share

Off = Literal["off"]


class Base(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every section is frozen and refuses unknown keys."""


class EngineConfig(Base, frozen=True, kw_only=True):
    """What runs the containers."""

    url: Annotated[str, Meta(description="auto (DOCKER_HOST, else the local socket), unix:///…, tcp://… or simulated")] = "auto"
    timeout: Annotated[Seconds, Meta(description="deadline of one API call; a stop has its own: stop timeout + this")] = (
        Seconds(5)
    )


class HostConfig(Base, frozen=True, kw_only=True):
    """What the platform may use of a larger host."""

    memory: Annotated[
        Bytes | None, Meta(description="what the platform may use of a larger host; adds the signal platform_memory")
    ] = None
    cpu: Annotated[Cores | None, Meta(description="likewise in cores; adds the signal platform_cpu")] = None


class SamplingConfig(Base, frozen=True, kw_only=True):
    """How often things are read."""

    host: Annotated[
        Seconds,
        Meta(description="how often the host is read far from every mark; down to 100 ms as memory comes closer to one"),
    ] = Seconds(1)
    containers: Annotated[
        Seconds,
        Meta(description="how often containers are read while all is ok; near a mark once a second, cgroup files at each tick"),
    ] = Seconds(5)
    source: Annotated[
        Literal["auto", "engine", "cgroups"],
        Meta(
            description="where container use is read. auto: cgroup files where they can be read and agree with the engine, else "
            "the engine. cgroups: files alone; what they do not tell is unknown"
        ),
    ] = "auto"


class Thresholds(Base, frozen=True, kw_only=True):
    """Of one shedding signal. soft ≥ hard and recover ≥ soft are mistakes."""

    soft: Annotated[Ratio, Meta(description="at or above this for soft_for: soft")]
    hard: Annotated[Ratio, Meta(description="at or above this for hard_for: hard")]
    recover: Annotated[Ratio, Meta(description="below this for recover_for: ok")]
    soft_for: Annotated[Seconds, Meta(description="how long at or above soft before it counts")] = Seconds(10)
    hard_for: Annotated[Seconds, Meta(description="how long at or above hard before it counts")] = Seconds(0)
    recover_for: Annotated[Seconds, Meta(description="how long below recover before all is ok again")] = Seconds(60)


class SupportThresholds(Base, frozen=True, kw_only=True):
    """Of a signal that can only support memory: it has no hard mark."""

    soft: Annotated[
        Ratio, Meta(description="at or above this for soft_for: memory is soft, while it is at or above its recover")
    ]
    recover: Annotated[Ratio, Meta(description="below this for recover_for: ok")]
    soft_for: Annotated[Seconds, Meta(description="how long at or above soft before it counts")] = Seconds(10)
    recover_for: Annotated[Seconds, Meta(description="how long below recover before all is ok again")] = Seconds(60)


class DiskThresholds(Base, frozen=True, kw_only=True):
    """Of the engine's file system, which never sheds: stopping services frees no disk."""

    soft: Annotated[Ratio, Meta(description="at or above this for soft_for: an alert")]
    hard: Annotated[Ratio, Meta(description="at or above this for hard_for: nothing is started")]
    recover: Annotated[Ratio, Meta(description="below this for recover_for: ok")]
    soft_for: Annotated[Seconds, Meta(description="how long at or above soft before it counts")] = Seconds(10)
    hard_for: Annotated[Seconds, Meta(description="how long at or above hard before it counts")] = Seconds(0)
    recover_for: Annotated[Seconds, Meta(description="how long below recover before all is ok again")] = Seconds(60)


MEMORY = Thresholds(soft=Ratio(0.80), soft_for=Seconds(10), hard=Ratio(0.90), recover=Ratio(0.70), recover_for=Seconds(60))
CPU = Thresholds(
    soft=Ratio(0.85), soft_for=Seconds(60), hard=Ratio(0.97), hard_for=Seconds(20), recover=Ratio(0.65), recover_for=Seconds(60)
)
SWAP = SupportThresholds(soft=Ratio(0.60), soft_for=Seconds(30), recover=Ratio(0.40), recover_for=Seconds(60))
MEMORY_PRESSURE = SupportThresholds(soft=Ratio(0.20), soft_for=Seconds(10), recover=Ratio(0.05), recover_for=Seconds(60))
DISK = DiskThresholds(soft=Ratio(0.85), hard=Ratio(0.95), recover=Ratio(0.80))
# The first rests on what the second came to: a key that is not given is as there, or as in the third where that is off.
RESTING = {"platform_memory": ("memory", MEMORY), "platform_cpu": ("cpu", CPU)}


class ThresholdsConfig(Base, frozen=True, kw_only=True):
    """A key that is partly given (only `soft`, say) keeps the default of the rest: the loader merges before it validates."""

    memory: Annotated[Thresholds | Off, Meta(description="the host's memory that is not available")] = MEMORY
    cpu: Annotated[Thresholds | Off, Meta(description="the host's CPU, mean of 10 s, without iowait and steal")] = CPU
    swap: Annotated[
        SupportThresholds | Off, Meta(description="swap in use; counts only while memory is at or above recover")
    ] = SWAP
    memory_pressure: Annotated[SupportThresholds | Off, Meta(description="PSI full avg10 of memory; counts likewise")] = (
        MEMORY_PRESSURE
    )
    disk: Annotated[DiskThresholds | Off, Meta(description="the engine's file system; never sheds")] = DISK
    platform_memory: Annotated[
        Thresholds | Off | None, Meta(description="footprints of managed services over host.memory; as memory unless set")
    ] = None
    platform_cpu: Annotated[
        Thresholds | Off | None, Meta(description="cores of managed services over host.cpu; as cpu unless set")
    ] = None

    def of(self, signal: Signal) -> Thresholds | SupportThresholds | DiskThresholds | None:
        """The thresholds in force for `signal`; None where it is off."""
        value = getattr(self, signal.value)
        if value is None:
            value = self.memory if signal is Signal.PLATFORM_MEMORY else self.cpu
        return None if value == "off" else value


class SheddingConfig(Base, frozen=True, kw_only=True):
    """How services are stopped to relieve pressure."""

    settle: Annotated[Seconds, Meta(description="how long relief may take to show after a victim is gone")] = Seconds(5)
    hard_grace: Annotated[Seconds, Meta(description="longest stop timeout under hard memory")] = Seconds(3)
    horizon: Annotated[
        Seconds, Meta(description="memory that would be full within this, at its fill rate, is hard at once")
    ] = Seconds(10)
    startup_grace: Annotated[Seconds, Meta(description="a container this young is no CPU victim")] = Seconds(120)
    max_per_hour: Annotated[int, Meta(ge=0, description="soft sheds in an hour, at most")] = 20
    dependencies: Annotated[
        Literal["order", "inherit"] | None, Meta(description="the same as the top-level dependencies: write one of the two")
    ] = None


class Backoff(Base, frozen=True, kw_only=True):
    """How long a service that was shed on probation waits for its next restore: doubled each time."""

    min: Annotated[Seconds, Meta(description="the first wait")] = Seconds(60)
    max: Annotated[Seconds, Meta(description="the longest wait")] = Seconds(3600)


class RestoringConfig(Base, frozen=True, kw_only=True):
    """How what was shed is started again, once there is room."""

    enabled: Annotated[bool, Meta(description="false: what was shed stays down until an operator restores it")] = True
    margin: Annotated[Ratio, Meta(description="room left under soft after a restore")] = Ratio(0.05)
    stable_for: Annotated[Seconds, Meta(description="running this long counts as up where there is no health check")] = Seconds(
        15
    )
    probation: Annotated[Seconds, Meta(description="how long a restored service ranks first in its phase")] = Seconds(120)
    backoff: Annotated[Backoff, Meta(description="waits after a service was shed on probation")] = field(
        default_factory=Backoff
    )
    max_flaps: Annotated[
        int, Meta(ge=1, description="how often in a day a service may bring the pressure back; then quarantine")
    ] = 5


class Budget(Base, frozen=True, kw_only=True):
    """Cumulative: what phases 1..n may use together."""

    memory: Annotated[Bytes | None, Meta(description="working sets of phases 1..n together")] = None
    cpu: Annotated[Share | None, Meta(description="a share of the whole capacity, or cores")] = None
    storage: Annotated[Bytes | None, Meta(description="what phases 1..n may write to the engine's file system")] = None


class PhaseConfig(Base, frozen=True, kw_only=True):
    """One rank of importance: 1 is the core, the last is shed first."""

    phase: Annotated[int, Meta(ge=1, description="its number: 1, 2, 3 … without a gap")]
    name: Annotated[str, Meta(description="for people")] = ""
    protected: Annotated[bool, Meta(description="never shed, an emergency aside")] = False
    mode: Annotated[Mode, Meta(description="observe: watched only, while others are enforced")] = Mode.ENFORCE
    budget: Annotated[Budget, Meta(description="cumulative: what phases 1..n may use together; over it alone never sheds")] = (
        field(default_factory=Budget)
    )
    services: Annotated[
        tuple[str, ...], Meta(description="Compose services, or lone containers, by name; each in one phase")
    ] = ()


class Resources(Base, frozen=True, kw_only=True):
    """Of one container."""

    memory: Annotated[Bytes | None, Meta(description="of one container")] = None
    cpus: Annotated[Cores | None, Meta(description="of one container")] = None


class HealthConfig(Base, frozen=True, kw_only=True):
    """How guardian finds out whether a service is well, and whether it restarts it. One of http, tcp and command; with restart alone the container's own check tells."""

    http: Annotated[str | None, Meta(description="URL; well: it answers with a status from 200 to 399")] = None
    tcp: Annotated[str | None, Meta(description="host:port; well: it takes a connection")] = None
    command: Annotated[
        tuple[str, ...],
        Meta(description="program and arguments, run on the host as guardian's own user; well: it ends with exit code 0"),
    ] = ()
    interval: Annotated[Seconds, Meta(description="from one probe to the next")] = Seconds(30)
    timeout: Annotated[Seconds, Meta(description="deadline of one probe; later is a failure")] = Seconds(10)
    retries: Annotated[int, Meta(ge=1, description="so many failures in a row make it unhealthy")] = 3
    start_period: Annotated[Seconds, Meta(description="failures of a service that started so recently do not count")] = Seconds(
        40
    )
    restart: Annotated[bool, Meta(description="true: in enforce mode guardian restarts it while it is unhealthy")] = False
    restarts_per_hour: Annotated[int, Meta(ge=1, description="restarts of it in an hour, at most")] = 3


class ServiceConfig(Base, frozen=True, kw_only=True):
    """What differs for one service. Labels on its containers come second."""

    limits: Annotated[Resources, Meta(description="what it may use; without a reservation, its share when ranked")] = field(
        default_factory=Resources
    )
    reservations: Annotated[Resources, Meta(description="its share: a service above it is shed first within its phase")] = (
        field(default_factory=Resources)
    )
    stop_timeout: Annotated[
        Seconds | None, Meta(description="how long it may take to stop; as its container says unless set, else 10s")
    ] = None
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
    health: Annotated[HealthConfig | None, Meta(description="a probe of guardian's own: docs/health.md")] = None


class EmergencyConfig(Base, frozen=True, kw_only=True):
    """What happens when memory is hard and nothing is left to shed."""

    enabled: Annotated[bool, Meta(description="true: then phases that are protected as phases go too, save keep")] = False
    keep: Annotated[tuple[str, ...], Meta(description="services that stay even then")] = ()


class ObjectivesConfig(Base, frozen=True, kw_only=True):
    """What is aimed at, over the time of a report. Each is judged only where it is given."""

    response_time: Annotated[
        Seconds | None, Meta(description="of services with an HTTP probe: 95% of their answers are no slower")
    ] = None
    availability: Annotated[
        Ratio | None, Meta(description="of each service: it runs and is not unhealthy for this part of the time")
    ] = None
    utilisation: Annotated[
        Ratio | None, Meta(description="of each phase's budget: use is no more than this for 95% of the time")
    ] = None
    healthy: Annotated[
        Ratio | None, Meta(description="of each service with a check: it is well for this part of the time that it runs")
    ] = None


class TlsConfig(Base, frozen=True, kw_only=True):
    """A certificate for the web side."""

    cert: Annotated[str, Meta(description="file of the certificate, PEM")]
    key: Annotated[str, Meta(description="file of its key, PEM")]


class AuthConfig(Base, frozen=True, kw_only=True):
    """Who may read the web side."""

    username: Annotated[str, Meta(description="for HTTP basic authentication")]
    password_file: Annotated[str, Meta(description="file with the password")]


class WebConfig(Base, frozen=True, kw_only=True):
    """Where guardian is read and given orders."""

    listen: Annotated[
        str, Meta(description="host:port of the status page, /metrics, /healthz, /readyz, /api/v1/…; read-only")
    ] = "127.0.0.1:9877"
    control: Annotated[str, Meta(description="Unix socket for orders, mode 0660")] = "/run/guardian/control.sock"
    tls: Annotated[TlsConfig | None, Meta(description="another address than loopback needs it, with auth")] = None
    auth: Annotated[AuthConfig | None, Meta(description="another address than loopback needs it, with tls")] = None
    insecure: Annotated[bool, Meta(description="true: another address than loopback without tls and auth, knowingly")] = False


class LogConfig(Base, frozen=True, kw_only=True):
    """Guardian's own log."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="the least important line that is written")
    ] = "info"
    format: Annotated[Literal["json", "console"], Meta(description="json for machines, console for people")] = "json"


class NotifyConfig(Base, frozen=True, kw_only=True):
    """One receiver of notifications: a webhook or an Alertmanager."""

    webhook: Annotated[SecretUrl | None, Meta(description="gets a POST with JSON for whatever a person should know")] = None
    format: Annotated[
        Literal["json", "slack"],
        Meta(description="of a webhook. json: text and every figure; slack: what Slack and what takes its webhooks reads"),
    ] = "json"
    alertmanager: Annotated[
        SecretUrl | None, Meta(description="gets alerts for as long as they last, by its API version 2; without /api/v2/alerts")
    ] = None

    def __str__(self) -> str:
        """Without what is secret of its address."""
        return f"webhook {self.webhook}" if self.webhook is not None else f"alertmanager {self.alertmanager}"


class Config(Base, frozen=True, kw_only=True):
    """The whole file."""

    version: Annotated[Literal[1], Meta(description="of this format")]
    phases: Annotated[tuple[PhaseConfig, ...], Meta(min_length=1, description="which services matter most")]
    mode: Annotated[Mode, Meta(description="observe: decide and report, never act; enforce: act")] = Mode.OBSERVE
    project: Annotated[str | tuple[str, ...] | None, Meta(description="Compose project, or a list of them")] = None
    containers: Annotated[tuple[str, ...], Meta(description="lone containers, by name")] = ()
    engine: Annotated[EngineConfig, Meta(description="what runs the containers")] = field(default_factory=EngineConfig)
    host: Annotated[HostConfig, Meta(description="what the platform may use of a larger host")] = field(
        default_factory=HostConfig
    )
    sampling: Annotated[SamplingConfig, Meta(description="how often things are read")] = field(default_factory=SamplingConfig)
    source: Annotated[
        Literal["auto", "engine", "cgroups"] | None, Meta(description="the same as sampling.source: write one of the two")
    ] = None
    thresholds: Annotated[ThresholdsConfig, Meta(description="at which ratios guardian acts")] = field(
        default_factory=ThresholdsConfig
    )
    shedding: Annotated[SheddingConfig, Meta(description="how services are stopped")] = field(default_factory=SheddingConfig)
    dependencies: Annotated[
        Literal["order", "inherit"],
        Meta(description="order: depends_on orders stops and starts; inherit: it counts as requires"),
    ] = "order"
    restoring: Annotated[RestoringConfig, Meta(description="how they are started again")] = field(
        default_factory=RestoringConfig
    )
    services: Annotated[dict[str, ServiceConfig], Meta(description="overrides for single services, by name")] = field(
        default_factory=dict
    )
    emergency: Annotated[EmergencyConfig, Meta(description="the last resort")] = field(default_factory=EmergencyConfig)
    target_phase: (
        Annotated[
            int,
            Meta(
                ge=0,
                description="services of phases above it are stopped; after a reboot what ran comes back to it as there is room",
            ),
        ]
        | None
    ) = None
    objectives: Annotated[
        ObjectivesConfig | None, Meta(description="what is aimed at; with it, guardian keeps figures for `guardian report`")
    ] = None
    notify: Annotated[tuple[NotifyConfig, ...], Meta(description="who is told of changes; sent past Prometheus")] = ()
    reload: Annotated[
        Literal["thresholds", "all", "none"],
        Meta(
            description="what an edit of the file applies by itself, once unchanged for 1 s: thresholds (with budgets and timings),"
            " all or none; the rest waits for SIGHUP or `guardian reload`"
        ),
    ] = "thresholds"
    state_dir: Annotated[str, Meta(description="where the ledger lies")] = "/var/lib/guardian"
    web: Annotated[WebConfig, Meta(description="where guardian is read and given orders")] = field(default_factory=WebConfig)
    log: Annotated[LogConfig, Meta(description="its own log")] = field(default_factory=LogConfig)

    @property
    def projects(self) -> tuple[str, ...]:
        if self.project is None:
            return ()
        return (self.project,) if isinstance(self.project, str) else self.project
