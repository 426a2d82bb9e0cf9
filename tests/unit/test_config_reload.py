"""What an edit applies by itself, what waits for an operator, and what needs a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardian.config.load import loads
from guardian.config.reload import Kind, apply, changes
from guardian.config.rules import verify
from guardian.config.schema import Config
from guardian.errors import ConfigError
from guardian.model import Mode

REFERENCE = (Path(__file__).parents[2] / "config" / "guardian.yaml").read_text()
BASE = """\
version: 1
mode: observe
project: demo
phases:
- {phase: 1, protected: true, services: [db], budget: {memory: 1GiB}}
- {phase: 2, services: [api, web], budget: {memory: 2GiB}}
- {phase: 3, services: [logs], budget: {memory: 3GiB}}
services:
  db: {protect: true, kill: never}
  api: {requires: [db], on_pressure: throttle, priority: 5}
emergency: {keep: [db]}
dependencies: inherit
"""


def read(text: str = BASE) -> Config:
    return loads(text, "guardian.yaml")


def edited(*replacements: tuple[str, str], text: str = BASE) -> Config:
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new, 1)
    return read(text)


def lines(old: Config, new: Config) -> list[str]:
    return [str(change) for change in changes(old, new)]


def test_an_edit_that_means_nothing_is_no_change() -> None:
    """Comments, order, spelling of values, and a list of one project are no change."""
    old = read()
    same = edited(
        ("mode: observe\n", "# nothing to see here\n"),
        ("project: demo", "project: [demo]"),
        ("[api, web]", "[web, api]"),
        ("1GiB", "1024MiB"),
        ("dependencies: inherit", "dependencies: inherit\nengine:\nweb: {listen: '127.0.0.1:9877'}"),
    )
    assert changes(old, same) == ()
    reload = apply(old, same)
    assert (reload.applied, reload.pending, reload.refused_until_restart) == ((), (), ())
    assert reload.config == old


HEALTH = (
    "http none, tcp none, command [], interval 30s, timeout 10s, retries 3, start_period 40s, restart true, restarts_per_hour 3"
)


@pytest.mark.parametrize(
    ("replace", "by", "line"),
    [
        ("mode: observe", "thresholds: {memory: {soft: 75%}}", "thresholds.memory.soft: 80% -> 75%"),
        (
            "mode: observe",
            "thresholds: {swap: off}",
            "thresholds.swap: soft 60%, recover 40%, soft_for 30s, recover_for 1m -> off",
        ),
        ("mode: observe", "shedding: {settle: 8s}", "shedding.settle: 5s -> 8s"),
        ("mode: observe", "restoring: {backoff: {max: 2h}}", "restoring.backoff.max: 1h -> 2h"),
        ("mode: observe", "sampling: {host: 500ms}", "sampling.host: 1s -> 500ms"),
        ("memory: 3GiB", "memory: 4GiB", "phases[3].budget.memory: 3GiB -> 4GiB"),
        ("memory: 3GiB", "memory: 3GiB, cpu: 50%", "phases[3].budget.cpu: none -> 50%"),
        ("services: [logs]", "name: extra, services: [logs]", "phases[3].name: none -> extra"),
        ("priority: 5", "priority: 5, stop_timeout: 30s", "services.api.stop_timeout: none -> 30s"),
        ("services: [logs]", "protected: true, services: [logs]", "phases[3].protected: false -> true"),
        ("services: [logs]", "mode: observe, services: [logs]", "phases[3].mode: enforce -> observe"),
        ("emergency:", "  web: {protect: true}\nemergency:", "services.web.protect: none -> true"),
        ("emergency:", "  web: {kill: never}\nemergency:", "services.web.kill: allow -> never"),
        ("emergency:", "  web: {requires: [api]}\nemergency:", "services.web.requires: [] -> [api]"),
        ("keep: [db]", "keep: [db, api]", "emergency.keep: [db] -> [db, api]"),
        ("mode: observe", "reload: none", "reload: thresholds -> none"),
    ],
)
def test_tuning_and_more_protection_apply_by_themselves(replace: str, by: str, line: str) -> None:
    """Thresholds, budgets, timings, and what makes guardian less bold apply by themselves, and read as a line of a diff."""
    old, new = read(), edited((replace, by))
    assert lines(old, new) == [line]
    reload = apply(old, new)
    assert reload.config == new
    assert [change.kind for change in reload.applied] == [Kind.SAFE]
    assert reload.pending == ()


@pytest.mark.parametrize(
    ("replace", "by", "expected"),
    [
        ("mode: observe", "mode: enforce", ["mode: observe -> enforce (waits: guardian would act)"]),
        ("protected: true", "protected: false", ["phases[1].protected: true -> false (waits: protection would be lost)"]),
        ("protect: true, ", "", ["services.db.protect: true -> none (waits: protection would be lost)"]),
        ("protect: true, ", "protect: false, ", ["services.db.protect: true -> false (waits: protection would be lost)"]),
        (", kill: never", "", ["services.db.kill: never -> allow (waits: it could be killed)"]),
        (
            "emergency:",
            "  web: {health: {restart: true}}\nemergency:",
            [f"services.web.health: none -> {HEALTH} (waits: it may change what is stopped or started)"],
        ),
        (
            "requires: [db], ",
            "",
            ["services.api.requires: [db] -> [] (waits: what it requires would lose its phase and protection)"],
        ),
        (
            "on_pressure: throttle, ",
            "",
            ["services.api.on_pressure: throttle -> stop (waits: it would be stopped instead of throttled)"],
        ),
        ("priority: 5", "priority: -5", ["services.api.priority: 5 -> -5 (waits: it may change what is stopped or started)"]),
        ("[api, web]", "[api]", ["services.web.phase: 2 -> none (waits: guardian would no longer manage it)"]),
        ("[logs]", "[logs, tools]", ["services.tools.phase: none -> 3 (waits: guardian could stop it)"]),
        (
            "project: demo",
            "project: [demo, other]",
            ["project: demo -> [demo, other] (waits: it changes whose containers guardian may stop)"],
        ),
        (
            "project: demo",
            "project: demo\ncontainers: [x]",
            ["containers: [] -> [x] (waits: it may change what is stopped or started)"],
        ),
        (
            "mode: observe",
            "host: {memory: 4GiB}",
            ["host.memory: none -> 4GiB (waits: it may change what is stopped or started)"],
        ),
        ("mode: observe", "target_phase: 1", ["target_phase: none -> 1 (waits: it may change what is stopped or started)"]),
        ("keep: [db]", "keep: []", ["emergency.keep: [db] -> [] (waits: it could be stopped in an emergency)"]),
        (
            "keep: [db]",
            "enabled: true, keep: [db]",
            ["emergency.enabled: false -> true (waits: protected phases could be stopped)"],
        ),
        ("inherit", "order", ["dependencies: inherit -> order (waits: services would lose what they inherit)"]),
        ("mode: observe", "reload: all", ["reload: thresholds -> all (waits: edits would apply by themselves)"]),
    ],
)
def test_what_widens_what_guardian_may_stop_waits(replace: str, by: str, expected: list[str]) -> None:
    """Whatever widens what guardian may stop waits, shown as a diff, until an operator says so."""
    old, new = read(), edited((replace, by))
    assert lines(old, new) == expected
    alone = apply(old, new)
    assert alone.config == old
    assert [str(change) for change in alone.pending] == expected
    ordered = apply(old, new, ordered=True)
    assert ordered.config == new
    assert (len(ordered.applied), ordered.pending) == (len(expected), ())


def test_a_service_that_moves_waits_with_its_new_phase() -> None:
    """A service moved to a new phase waits, together with that phase; both come when ordered."""
    old = read()
    new = edited(("[api, web]", "[api]"), ("services:\n  db", "- {phase: 4, name: extra, services: [web]}\nservices:\n  db"))
    assert lines(old, new) == [
        "phases[4]: none -> extra (waits: a phase would be new)",
        "services.web.phase: 2 -> 4 (waits: it would move)",
    ]
    assert apply(old, new).config == old
    assert apply(old, new, ordered=True).config == new


@pytest.mark.parametrize(
    ("by", "path"),
    [
        ("state_dir: /srv", "state_dir"),
        ("web: {listen: '127.0.0.1:1'}", "web.listen"),
        ("web: {control: /run/x.sock}", "web.control"),
        ("engine: {url: simulated}", "engine.url"),
        ("log: {format: console}", "log.format"),
        ("sampling: {source: engine}", "sampling.source"),
    ],
)
def test_what_cannot_change_at_run_time_says_so(by: str, path: str) -> None:
    """What is read once at the start is refused until a restart, even when ordered."""
    old, new = read(), edited(("mode: observe", by))
    for ordered in (False, True):
        reload = apply(old, new, ordered=ordered)
        assert reload.config == old
        (change,) = reload.refused_until_restart
        assert change.path == path
        assert str(change).endswith("(restart: it is read once, at the start)")


def test_one_edit_is_taken_apart() -> None:
    """Of one edit, the threshold applies, the lost protection waits and the address is refused."""
    old = read()
    new = edited(("protected: true", "protected: false"), ("mode: observe", "thresholds: {cpu: off}\nweb: {listen: '[::1]:1'}"))
    reload = apply(old, new)
    assert [change.path for change in reload.applied] == ["thresholds.cpu"]
    assert [change.path for change in reload.pending] == ["phases[1].protected"]
    assert [change.path for change in reload.refused_until_restart] == ["web.listen"]
    assert reload.config.thresholds.cpu == "off"
    assert reload.config.phases[0].protected
    assert reload.config.web.listen == "127.0.0.1:9877"


def test_the_policy_decides_what_an_edit_does_by_itself() -> None:
    """`all` applies what would wait, `none` applies nothing; the policy in force counts, not the edited one."""
    new = edited(("mode: observe", "mode: enforce\nreload: none\nthresholds: {cpu: off}"))
    everything = apply(read(BASE + "reload: all\n"), new)
    assert everything.config.mode is Mode.ENFORCE
    assert everything.pending == ()
    nothing = apply(read(BASE + "reload: none\n"), edited(("mode: observe", "thresholds: {cpu: off}")))
    assert nothing.applied == ()
    assert [change.path for change in nothing.pending] == ["thresholds.cpu", "reload"]


def test_half_of_an_edit_that_would_break_a_rule_waits_whole() -> None:
    """Where the part that applies by itself breaks a rule against the part that waits, the whole edit waits and says why."""
    old = read()
    new = edited(
        (
            "- {phase: 2, services: [api, web], budget: {memory: 2GiB}}\n",
            "- {phase: 2, services: [api, web, logs], budget: {memory: 5GiB}}\n",
        ),
        ("- {phase: 3, services: [logs], budget: {memory: 3GiB}}\n", ""),
        ("mode: observe", "thresholds: {cpu: off}"),
    )
    reload = apply(old, new)
    assert reload.config == old
    assert reload.applied == ()
    assert "phases[2].budget.memory: 2GiB -> 5GiB (waits: it does not fit what stays in force until the rest applies)" in [
        str(change) for change in reload.pending
    ]
    assert apply(old, new, ordered=True).config == new


def test_a_file_cut_in_half_loses_no_protection() -> None:
    """Of any half of the reference file that happens to be valid, nothing is taken that widens what guardian may stop."""
    old = read(REFERENCE)
    halves = 0
    for end in range(REFERENCE.index("phases:"), len(REFERENCE), 97):
        try:
            half = loads(REFERENCE[:end], "half")
        except ConfigError:  # most halves are no configuration at all
            continue
        halves += 1
        taken = apply(old, half).config
        assert [phase.services for phase in taken.phases] == [phase.services for phase in old.phases]
        assert [phase.protected for phase in taken.phases] == [phase.protected for phase in old.phases]
        assert taken.emergency == old.emergency
        assert verify(taken) == []
    assert halves > 10


def test_receivers_apply_by_themselves_and_show_no_secret() -> None:
    """A new receiver of notifications applies by itself, and the change shows no more of its address than its host."""
    old, new = read(), edited(("mode: observe", "mode: observe\nnotify: [{webhook: 'https://hooks.example/S3CRET'}]"))
    reload = apply(old, new)
    assert reload.config.notify == new.notify
    assert [str(change) for change in reload.applied] == ["notify: [] -> [webhook https://hooks.example/…]"]
    assert "S3CRET" not in repr(new)
