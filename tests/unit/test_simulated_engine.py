"""The simulated engine and host on a virtual clock: memory, CPU, pressure, and the lives of containers."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from guardian.clock import VirtualClock
from guardian.engine.protocol import RawStats, Scope
from guardian.engine.simulated import Scenario, SimulatedEngine, SimulatedHost, find_scenario
from guardian.engine.simulated.behaviour import burst, leak, ramp, spike, steady
from guardian.engine.simulated.scenario import GIB, MIB, Health, Host, HostStep, Limits, Service, Step, Stop
from guardian.errors import EngineRefused, EngineTimeout, EngineUnreachable
from guardian.model import Container, ContainerState, HostReading, Result, ServiceKey
from guardian.model import Health as Verdict

SCOPE = Scope(("openpolicy",), ("lone",))


@dataclass
class Bench:
    """A scenario on a virtual clock, and what one looks at in it."""

    services: dict[str, Service]
    host: Host = field(default_factory=lambda: Host(memory=GIB, cores=2, base=0, base_cpu=0.0))

    def __post_init__(self) -> None:
        self.clock = VirtualClock()
        self.engine = SimulatedEngine(Scenario(services=self.services, host=self.host), self.clock)
        self.sensor = SimulatedHost(self.engine)

    def after(self, seconds: float) -> Bench:
        self.clock.advance(seconds)
        self.engine.poll()
        return self

    def id(self, service: str) -> str:
        return self.engine.ids(service)[0]

    def see(self, service: str) -> Container:
        return next(one for one in self.engine.containers(SCOPE) if one.service.name == service)

    def stats(self, service: str) -> RawStats:
        return self.engine.stats([self.id(service)])[self.id(service)]

    def held(self, service: str) -> int | None:
        return self.stats(service).footprint_bytes

    def cores(self, service: str, over_s: float = 1.0) -> float:
        before = self.stats(service).cpu_total_s or 0.0
        self.after(over_s)
        return ((self.stats(service).cpu_total_s or 0.0) - before) / over_s

    def actions(self) -> list[str]:
        return [event.action for event in self.engine.pending_events(SCOPE)]

    @property
    def available(self) -> int:
        return self.sensor.read().memory_available_bytes or 0


# --- memory ---------------------------------------------------------------------------------------------------------


def test_what_is_available_is_what_no_footprint_base_or_outside_load_holds() -> None:
    """What is available is what no footprint, base or outside load holds."""
    host = Host(memory=GIB, base=100 * MIB, steps=(HostStep(at=10, memory=spike(50 * MIB, 5)),))
    bench = Bench({"db": Service(memory=200 * MIB, replicas=2)}, host)
    assert bench.available == 524 * MIB
    assert bench.after(10).available == 474 * MIB
    assert bench.after(5).available == 524 * MIB


def test_a_stopped_container_gives_its_memory_back() -> None:
    """A stopped container gives its memory back."""
    bench = Bench({"db": Service(memory=200 * MIB, stop=Stop(takes=2))})
    call = bench.engine.begin_stop(bench.id("db"), 10)
    assert bench.after(1.9).available == GIB - 200 * MIB
    assert bench.after(0.1).available == GIB
    assert call.result is Result.DONE


def test_page_cache_is_available_and_in_no_footprint() -> None:
    """Page cache is available, and in no footprint; its active part is in the working set."""
    bench = Bench({"db": Service(memory=50 * MIB, cache=500 * MIB, cache_active=0.2)})
    assert bench.available == GIB - 50 * MIB
    assert bench.held("db") == 50 * MIB
    assert bench.stats("db").working_set_bytes == 150 * MIB


def test_page_cache_gives_way_to_memory() -> None:
    """Page cache gives way to memory."""
    bench = Bench(
        {
            "db": Service(memory=0, cache=512 * MIB, cache_active=1.0),
            "hog": Service(memory=0, steps=(Step(at=1, memory=steady(768 * MIB)),)),
        }
    )
    assert bench.stats("db").working_set_bytes == 512 * MIB
    bench.after(1)
    assert bench.stats("db").working_set_bytes == 256 * MIB


def test_a_full_host_ends_its_biggest_container_whatever_it_is() -> None:
    """A full host ends its biggest container, whatever it is, and its restart policy brings it back."""
    leaking = Service(memory=24 * MIB, steps=(Step(at=0, memory=leak(MIB)), Step(at=400.1, memory=steady(MIB))))
    bench = Bench({"database": Service(memory=600 * MIB), "hog": leaking})
    bench.after(399)
    assert (bench.engine.oom_kills, bench.available) == ((), MIB)
    bench.after(1.05)
    (kill,) = bench.engine.oom_kills
    assert (kill.service.name, kill.at_s, kill.footprint_bytes, kill.host) == ("database", 1400.0, 600 * MIB, True)
    seen = bench.see("database")
    assert (seen.state, seen.exit_code) == (ContainerState.RESTARTING, 137)
    assert bench.held("hog") == pytest.approx(424 * MIB, rel=0.01)
    bench.after(0.05)
    assert (bench.see("database").state, bench.see("database").restarts) == (ContainerState.RUNNING, 1)


def test_swap_is_used_before_anything_is_ended() -> None:
    """Swap is used before anything is ended."""
    grown = Service(memory=GIB, steps=(Step(at=1, memory=ramp(100 * MIB)), Step(at=2, memory=ramp(MIB))))
    bench = Bench({"db": grown}, Host(memory=GIB, base=0, swap=100 * MIB))
    reading = bench.after(1).sensor.read()
    assert (reading.memory_available_bytes, reading.swap_used_bytes) == (0, 100 * MIB)
    assert bench.held("db") == pytest.approx(GIB)
    bench.after(1)
    assert len(bench.engine.oom_kills) == 1
    assert bench.sensor.read().swap_used_bytes == 0


def test_a_host_without_swap_does_not_know_its_use() -> None:
    """A host without swap does not know its use."""
    reading = Bench({}).sensor.read()
    assert (reading.swap_total_bytes, reading.swap_used_bytes) == (0, None)


def test_a_load_from_outside_is_never_ended() -> None:
    """A load from outside is never ended, and leaves nothing available."""
    bench = Bench(
        {"db": Service(memory=MIB, restart="no")}, Host(memory=GIB, base=0, steps=(HostStep(at=1, memory=steady(2 * GIB)),))
    )
    assert bench.after(1).available == 0
    assert bench.see("db").exit_code == 137


@pytest.mark.parametrize("shape", [ramp(100 * MIB, 10 * MIB), leak(10 * MIB), spike(100 * MIB, 20), burst(100 * MIB, 5, 10)])
def test_a_container_that_reaches_its_limit_is_ended_alone(shape: object) -> None:
    """A container that reaches its limit is ended, and no other."""
    limited = Service(memory=50 * MIB, limits=Limits(memory=100 * MIB), restart="no", steps=(Step(at=1, memory=shape),))  # type: ignore[arg-type]
    bench = Bench({"limited": limited, "bigger": Service(memory=300 * MIB)}).after(10)
    (kill,) = bench.engine.oom_kills
    assert (kill.service.name, kill.host) == ("limited", False)
    assert bench.see("limited").exit_code == 137
    assert "oom" in bench.actions()


def test_a_container_may_hold_just_its_limit() -> None:
    """A container may hold just its limit."""
    full = Service(memory=50 * MIB, limits=Limits(memory=100 * MIB), steps=(Step(at=1, memory=ramp(50 * MIB, MIB)),))
    bench = Bench({"full": full}).after(100)
    assert bench.held("full") == 100 * MIB


def test_oom_kills_are_counted_over_restarts() -> None:
    """OOM kills are counted over restarts."""
    bench = Bench({"leaky": Service(memory=50 * MIB, limits=Limits(memory=60 * MIB), steps=(Step(after=0, memory=leak(MIB)),))})
    assert bench.after(25).stats("leaky").strain.oom_kills == 2


# --- CPU and pressure -----------------------------------------------------------------------------------------------


def test_scarce_cores_are_shared_in_proportion() -> None:
    """Scarce cores are shared in proportion to what is wanted."""
    bench = Bench({"a": Service(cpu=3.0), "b": Service(cpu=1.0)})
    assert bench.cores("a") == pytest.approx(1.5)
    assert bench.cores("b") == pytest.approx(0.5)
    bench.engine.begin_stop(bench.id("a"), 0)
    bench.after(1)
    assert bench.cores("b") == pytest.approx(1.0)


def test_a_limit_and_a_quota_cap_the_cores() -> None:
    """A limit and a quota cap the cores that a container gets."""
    bench = Bench({"limited": Service(cpu=2.0, limits=Limits(cpus=0.5))})
    assert bench.cores("limited") == pytest.approx(0.5)
    assert bench.engine.set_cpu_quota(bench.id("limited"), 0.25) is Result.DONE
    assert (bench.cores("limited"), bench.see("limited").cpu_limit_cores) == (pytest.approx(0.25), 0.25)
    bench.engine.set_cpu_quota(bench.id("limited"), None)
    assert (bench.cores("limited"), bench.see("limited").cpu_limit_cores) == (pytest.approx(2.0), None)


def test_cpu_counts_from_nothing_again_after_a_restart() -> None:
    """CPU counts from nothing again after a restart."""
    bench = Bench({"a": Service(cpu=1.0)}).after(100)
    assert bench.stats("a").cpu_total_s == pytest.approx(100)
    bench.engine.external_kill("a")
    bench.after(1)
    bench.engine.external_start("a")
    assert bench.after(2).stats("a").cpu_total_s == pytest.approx(2)


def test_the_host_ratio_is_the_mean_of_ten_seconds_and_unknown_before() -> None:
    """The host's CPU ratio is the mean of ten seconds, and unknown before there are so many."""
    bench = Bench({"a": Service(cpu=0.0, steps=(Step(at=15, cpu=steady(1.0)),))})
    ratios = [bench.sensor.read().cpu_ratio] + [bench.after(1).sensor.read().cpu_ratio for _ in range(30)]
    assert ratios[:10] == [None] * 10
    assert ratios[10:16] == [0.0] * 6
    assert ratios[20] == pytest.approx(0.25)
    assert ratios[25:] == pytest.approx([0.5] * 6)


def read_after(services: dict[str, Service], seconds: float = 120) -> HostReading:
    return Bench(services).after(seconds).sensor.read()


def test_cpu_pressure_grows_with_what_has_to_wait() -> None:
    """CPU pressure grows with what has to wait: none while all fits."""
    figures = [read_after({"a": Service(cpu=wanted)}).cpu_some_avg10_ratio for wanted in (2.0, 2.2, 2.6, 3.0, 9.0)]
    assert figures == pytest.approx([0.0, 0.2, 0.6, 1.0, 1.0], abs=0.001)


def test_memory_pressure_grows_as_the_last_twentieth_fills() -> None:
    """Memory pressure grows as the last twentieth of memory fills; full stays below some."""
    readings = [read_after({"a": Service(memory=int(GIB * part))}) for part in (0.9, 0.95, 0.975, 1.0)]
    assert [one.memory_some_avg10_ratio for one in readings] == pytest.approx([0.0, 0.0, 0.5, 1.0], abs=0.001)
    assert [one.memory_full_avg10_ratio for one in readings] == pytest.approx([0.0, 0.0, 0.35, 0.7], abs=0.001)


def test_pressure_is_a_mean_that_rises_and_fades_over_ten_seconds() -> None:
    """Pressure is a mean that rises and fades over ten seconds."""
    bench = Bench({"a": Service(cpu=0.0, steps=(Step(at=0, cpu=spike(3.0, 10)),))})
    assert bench.after(10).sensor.read().cpu_some_avg10_ratio == pytest.approx(1 - 0.3679, abs=0.001)
    assert bench.after(10).sensor.read().cpu_some_avg10_ratio == pytest.approx((1 - 0.3679) * 0.3679, abs=0.001)


def test_without_psi_pressure_is_unknown() -> None:
    """Without PSI, pressure is unknown."""
    reading = Bench({}, Host(psi=False)).after(5).sensor.read()
    assert not reading.psi_present
    assert reading.cpu_some_avg10_ratio is reading.memory_full_avg10_ratio is reading.io_some_avg10_ratio is None


def test_the_disk_fills_by_a_step_of_the_host() -> None:
    """The disk fills by a step of the host."""
    bench = Bench({}, Host(steps=(HostStep(at=0, disk=ramp(10 * GIB, GIB)),)))
    before = bench.sensor.read()
    assert before.disk_total_bytes == 40 * GIB
    assert (before.disk_available_bytes or 0) - (bench.after(5).sensor.read().disk_available_bytes or 0) == 5 * GIB


# --- behaviour over time --------------------------------------------------------------------------------------------


def test_the_newest_step_holds_and_begins_anew_with_a_container() -> None:
    """The newest step holds, and begins anew with a container that is started."""
    bench = Bench(
        {"db": Service(memory=100 * MIB, steps=(Step(at=10, memory=ramp(50 * MIB, MIB)), Step(at=100, memory=steady(MIB))))}
    )
    assert bench.after(30).held("db") == 120 * MIB
    bench.engine.external_kill("db")
    bench.after(10)
    bench.engine.external_start("db")
    assert bench.held("db") == 100 * MIB
    assert bench.after(10).held("db") == 110 * MIB
    assert bench.after(50).held("db") == MIB


def test_a_step_of_a_run_comes_again_in_the_next_one() -> None:
    """A step that counts from the start of a run comes again in the next one."""
    bench = Bench({"db": Service(memory=100 * MIB, steps=(Step(after=10, memory=ramp(50 * MIB)),))})
    assert bench.after(10).held("db") == 150 * MIB
    bench.engine.external_kill("db")
    bench.after(1)
    bench.engine.external_start("db")
    assert (bench.held("db"), bench.after(10).held("db")) == (100 * MIB, 150 * MIB)


def test_a_crash_loop_pauses_longer_each_time_and_forgets_after_a_good_run() -> None:
    """A crash loop pauses longer each time, as Docker's does, and forgets that after a run of ten seconds."""
    bench = Bench({"bad": Service(steps=(Step(after=1, exit=3),)), "good": Service(steps=(Step(after=20, exit=3),))})
    starts: dict[str, list[float]] = {"bad": [], "good": []}
    for event in bench.after(60).engine.pending_events():
        if event.action == "start":
            starts[event.attributes["com.docker.compose.service"]].append(round(event.at_wall_s - 1_700_000_000, 1))
    assert starts["bad"][:5] == [1.1, 2.3, 3.7, 5.5, 8.1]
    assert starts["good"] == [20.1, 40.2]
    assert bench.see("bad").restarts == len(starts["bad"])


@pytest.mark.parametrize(
    ("policy", "code", "state"),
    [
        ("no", 1, ContainerState.EXITED),
        ("on-failure", 0, ContainerState.EXITED),
        ("on-failure", 1, ContainerState.RUNNING),
        ("always", 0, ContainerState.RUNNING),
        ("unless-stopped", 0, ContainerState.RUNNING),
    ],
)
def test_the_restart_policy_decides_what_comes_back(policy: str, code: int, state: ContainerState) -> None:
    """The restart policy decides what comes back by itself."""
    bench = Bench({"job": Service(restart=policy, steps=(Step(at=1, exit=code),))}).after(5)  # type: ignore[arg-type]
    seen = bench.see("job")
    assert seen.state is state
    assert seen.completed is (state is ContainerState.EXITED and code == 0)


def test_nothing_that_was_stopped_comes_back_by_itself() -> None:
    """Nothing that was stopped comes back by itself, not even in the pause before a restart."""
    bench = Bench({"a": Service(restart="always"), "b": Service(restart="always", steps=(Step(at=1, exit=1),))})
    bench.engine.begin_stop(bench.id("a"), 10)
    bench.after(1.05)
    assert bench.see("b").state is ContainerState.RESTARTING
    assert bench.engine.begin_stop(bench.id("b"), 10).result is Result.DONE
    bench.after(100)
    assert bench.see("a").state is bench.see("b").state is ContainerState.EXITED


def test_a_container_without_a_health_check_has_no_health() -> None:
    """A container without a health check has no health."""
    assert Bench({"a": Service()}).see("a").health is Verdict.NONE


def test_health_is_starting_until_its_first_verdict() -> None:
    """Health is starting until its first verdict."""
    bench = Bench({"a": Service(health=Health(healthy_after=5))})
    assert bench.see("a").health is Verdict.HEALTHY
    bench.engine.external_stop("a")
    assert bench.after(1).see("a").health is Verdict.UNHEALTHY
    bench.engine.external_start("a")
    assert bench.after(4.9).see("a").health is Verdict.STARTING
    assert bench.after(0.1).see("a").health is Verdict.HEALTHY
    assert bench.actions()[-1] == "health_status: healthy"


def test_a_service_may_turn_unhealthy_after_its_start() -> None:
    """A service may turn unhealthy some time after its start."""
    bench = Bench({"a": Service(health=Health(healthy_after=2), running=False, steps=(Step(after=10, healthy=False),))})
    bench.engine.external_start("a")
    assert bench.after(9).see("a").health is Verdict.HEALTHY
    assert bench.after(1).see("a").health is Verdict.UNHEALTHY


def test_a_service_that_starts_badly_exits_soon_after_its_start() -> None:
    """A service that starts badly exits soon after its start."""
    bench = Bench({"a": Service(starts="exits", restart="no")}).after(10)
    assert bench.see("a").state is ContainerState.RUNNING
    bench.engine.external_kill("a")
    bench.after(1)
    assert bench.engine.start(bench.id("a")) is Result.DONE
    assert bench.see("a").state is ContainerState.RUNNING
    assert (bench.after(1).see("a").state, bench.see("a").exit_code) == (ContainerState.EXITED, 1)


# --- calls ----------------------------------------------------------------------------------------------------------


def test_a_container_that_ignores_sigterm_is_killed_after_its_grace() -> None:
    """A container that ignores SIGTERM is killed after its grace."""
    bench = Bench({"a": Service(stop=Stop(ignores_sigterm=True))})
    call = bench.engine.begin_stop(bench.id("a"), 5)
    assert bench.after(5).see("a").state is ContainerState.RUNNING
    bench.after(0.1)
    assert (call.result, call.ended_s, bench.see("a").exit_code) == (Result.DONE, pytest.approx(1005.05), 137)
    assert bench.actions() == ["kill", "kill", "die", "stop"]


def test_a_stop_that_must_not_kill_never_kills() -> None:
    """A stop that must not kill never kills."""
    bench = Bench({"a": Service(stop=Stop(ignores_sigterm=True)), "b": Service(stop=Stop(takes=60))})
    never, late = (bench.engine.begin_stop(bench.id(name), 1, kill=False) for name in ("a", "b"))
    bench.after(3600)
    assert (never.result, late.result, late.ended_s) == (None, Result.DONE, 1060.0)


def test_a_shorter_grace_hastens_a_stop_under_way() -> None:
    """A shorter grace hastens a stop under way; a longer one does not delay it."""
    bench = Bench({"a": Service(stop=Stop(takes=60))})
    calls = [bench.engine.begin_stop(bench.id("a"), grace_s) for grace_s in (30, 2, 50)]
    bench.after(3)
    assert [call.result for call in calls] == [Result.DONE] * 3
    assert calls[0].ended_s == pytest.approx(1002.05)


def test_what_is_not_there_or_does_not_run_is_gone() -> None:
    """What is not there, or does not run, is gone to a stop; only what is not there to a start."""
    bench = Bench({"a": Service(running=False)})
    assert bench.engine.begin_stop(bench.id("a"), 10).result is Result.GONE
    assert bench.engine.begin_stop("nothing", 10).result is Result.GONE
    assert bench.engine.set_cpu_quota("nothing", 1) is Result.GONE
    assert bench.engine.start("nothing") is Result.GONE
    assert bench.engine.start(bench.id("a")) is bench.engine.start(bench.id("a")) is Result.DONE


def test_the_engine_may_refuse_stops_and_starts() -> None:
    """The engine may refuse stops and starts."""
    bench = Bench({"a": Service(), "b": Service(running=False, starts="refused")})
    bench.engine.refuse_stops("a")
    assert bench.engine.begin_stop(bench.id("a"), 1).result is Result.REFUSED
    bench.engine.refuse_stops("a", refuse=False)
    bench.engine.refuse_starts("a")
    bench.engine.begin_stop(bench.id("a"), 1)
    bench.after(1)
    for name in ("a", "b"):
        with pytest.raises(EngineRefused):
            bench.engine.start(bench.id(name))


def test_stats_may_be_missing_of_one_container() -> None:
    """Stats may be missing of one container."""
    bench = Bench({"a": Service(), "b": Service(), "c": Service(running=False)})
    bench.engine.miss_stats("a")
    every = [bench.id(name) for name in "abc"]
    assert list(bench.engine.stats([*every, "nothing"])) == [bench.id("b")]
    bench.engine.miss_stats("a", missing=False)
    assert list(bench.engine.stats(every)) == every[:2]


def test_an_engine_that_is_down_answers_nothing_while_the_world_goes_on() -> None:
    """An engine that is down answers nothing, while the world goes on."""
    bench = Bench({"a": Service(memory=100 * MIB)})
    container = bench.id("a")
    call = bench.engine.begin_stop(container, 10)
    events = bench.engine.events(SCOPE, None)
    bench.engine.engine_down()
    for ask in (
        bench.engine.info,
        bench.engine.ping,
        lambda: bench.engine.inspect(SCOPE, [container]),
        lambda: bench.engine.containers(SCOPE),
        lambda: bench.engine.stats([container]),
        lambda: bench.engine.begin_stop(container, 1),
        lambda: bench.engine.start(container),
        lambda: next(events),
    ):
        with pytest.raises(EngineUnreachable):
            ask()
    assert bench.after(1).available == GIB
    bench.engine.engine_down(False)
    assert call.result is Result.DONE
    assert bench.see("a").state is ContainerState.EXITED


def test_an_engine_that_is_too_slow_times_out() -> None:
    """An engine that is too slow times out."""
    bench = Bench({})
    bench.engine.slow_answers(5.1)
    with pytest.raises(EngineTimeout):
        bench.engine.info()
    bench.engine.slow_answers(4.9)
    assert bench.engine.info().cpus == 2


def test_an_engine_that_restarts_brings_back_what_its_policies_say() -> None:
    """An engine that restarts brings back what its policies say."""
    policies = ("no", "on-failure", "always", "unless-stopped")
    names = [f"{policy}_{kind}" for policy in policies for kind in ("running", "stopped")]
    bench = Bench({name: Service(restart=name.partition("_")[0]) for name in names})  # type: ignore[arg-type]
    for name in names:
        if name.endswith("stopped"):
            bench.engine.begin_stop(bench.id(name), 10)
    bench.after(10)
    bench.engine.restart_engine(down_s=5)
    with pytest.raises(EngineUnreachable):
        bench.engine.containers(SCOPE)
    assert bench.available == GIB
    bench.after(5)
    up = {one.service.name for one in bench.engine.containers(SCOPE) if one.state.up}
    assert up == {"always_running", "always_stopped", "unless-stopped_running"}
    assert all(one.restarts == 0 for one in bench.engine.containers(SCOPE))


def test_what_others_do_shows_in_the_list_and_as_events() -> None:
    """What others do shows in the list, and as events."""
    bench = Bench({"a": Service(stop_timeout=2, stop=Stop(ignores_sigterm=True)), "b": Service()})
    bench.engine.external_stop("a")
    assert bench.after(2.1).actions() == ["kill", "kill", "die", "stop"]
    bench.engine.external_start("a")
    assert (bench.actions(), bench.see("a").state) == (["start"], ContainerState.RUNNING)
    old = bench.id("b")
    (new,) = bench.engine.external_recreate("b")
    assert (bench.actions(), bench.see("b").id) == (["die", "destroy", "create", "start"], new)
    assert new != old
    bench.engine.external_remove("b")
    assert {one.service.name for one in bench.engine.containers(SCOPE)} == {"a"}
    made = bench.engine.external_create("b", Service(memory=MIB), number=2)
    assert (bench.see("b").id, bench.see("b").number, bench.held("b")) == (made, 2, MIB)


def test_a_name_that_nothing_has_is_a_mistake_of_the_test() -> None:
    """A name that nothing has is a mistake of the test."""
    with pytest.raises(KeyError, match="nothing"):
        Bench({}).engine.external_stop("nothing")


def test_each_engine_is_one_of_its_own() -> None:
    """Each engine is one of its own, so that two guardians may look after two of them."""
    first, second = Bench({}), Bench({})
    assert first.engine.info().id == first.engine.info().id != second.engine.info().id


# --- what is shown --------------------------------------------------------------------------------------------------


def test_a_container_shows_what_compose_and_docker_say_of_it() -> None:
    """A container shows what Compose and Docker say of it."""
    service = Service(
        replicas=2,
        limits=Limits(memory=GIB, cpus=1.5),
        reservation=MIB,
        depends_on=("db",),
        network_mode="db",
        stop_timeout=30,
        labels={"guardian.phase": "2", "com.docker.compose.oneoff": "True", "com.docker.swarm.task.id": "x"},
    )
    bench = Bench({"db": Service(), "web": service})
    seen = bench.see("web")
    assert (seen.name, seen.service, seen.number) == ("openpolicy-web-1", ServiceKey("openpolicy", "web"), 1)
    assert (seen.memory_limit_bytes, seen.memory_reservation_bytes, seen.cpu_limit_cores) == (GIB, MIB, 1.5)
    assert (seen.depends_on, seen.shares, seen.stop_timeout_s) == (("db",), (bench.id("db"),), 30)
    assert (seen.labels.phase, seen.oneoff, seen.swarm) == (2, True, True)
    assert (seen.started_s, seen.started_wall_s) == (1000 - 3600, 1_700_000_000 - 3600)
    assert len(bench.engine.ids("web")) == 2


def test_only_what_is_in_scope_is_shown() -> None:
    """Only what is in scope is shown: of its projects, and lone ones by name."""
    bench = Bench(
        {"a": Service(), "lone": Service(project=""), "other_lone": Service(project=""), "foreign": Service(project="other")}
    )
    assert {one.service for one in bench.engine.containers(SCOPE)} == {ServiceKey("openpolicy", "a"), ServiceKey("", "lone")}
    for name in ("a", "lone", "other_lone", "foreign"):
        bench.engine.external_kill(name)
    assert {event.name for event in bench.after(1).engine.pending_events(SCOPE)} == {"openpolicy-a-1", "lone"}


def test_a_container_that_was_never_started_has_no_times() -> None:
    """A container that was never started has no times, and no exit code."""
    seen = Bench({"a": Service(running=False)}).see("a")
    assert (seen.state, seen.started_s, seen.finished_wall_s, seen.exit_code) == (ContainerState.CREATED, None, None, None)


def test_the_list_is_the_same_value_until_something_changes() -> None:
    """The list is the same value until something changes."""
    bench = Bench({"a": Service(cpu=0.0, steps=(Step(at=0, cpu=burst(1, 1, 2)),))})
    first = bench.engine.containers(SCOPE)
    assert bench.after(10).engine.containers(SCOPE) is first
    bench.engine.external_kill("a")
    assert bench.after(1).engine.containers(SCOPE) != first


def test_without_guardian_the_overload_scenario_costs_the_host_its_database() -> None:
    """Without Guardian, the overload scenario costs the host its database; then it is calm."""
    scenario = find_scenario("overload")
    bench = Bench(dict(scenario.services), scenario.host)
    assert 0.60 < 1 - bench.available / (4 * GIB) < 0.70
    assert [kill.service.name for kill in bench.after(300).engine.oom_kills] == ["postgres"]
    assert 0.60 < 1 - bench.available / (4 * GIB) < 0.70
