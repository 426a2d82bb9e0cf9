"""Every mistake, with its line, its path and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.messages import never_made, reached

from guardian.config.load import load, loads, warnings
from guardian.config.tree import MAX_BYTES
from guardian.errors import ConfigError, Problem

HEAD = "version: 1\nproject: demo\n"
PHASES = "phases: [{phase: 1, services: [db, web]}]\n"
LEAST = HEAD + PHASES  # the next line is line 4


TENS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"
BILLIONS = "\n".join([TENS, *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))])
NESTED = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 2000))])


def mistakes(text: str | bytes) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        loads(text, "f.yaml")
    assert caught.value.exit_code == 78
    return caught.value.problems


MISTAKES: list[tuple[str | bytes, int | None, str, str]] = [
    # form
    ("", None, "", "empty"),
    ("# nothing\n", None, "", "empty"),
    ("- a\n", 1, "", "expected a section with keys"),
    ("hello", 1, "", "expected a section with keys"),
    ("version: 1\nphases: [\n", 3, "", "not valid YAML"),
    ("a: b: c\n", 1, "", "not valid YAML"),
    (LEAST + "---\na: 1\n", 4, "", "not valid YAML"),
    (LEAST + "mode: *nowhere\n", 4, "", "not valid YAML"),
    (LEAST + "log:\n\tlevel: info\n", 5, "", "not valid YAML"),
    ("version: 1\nname: a\x00b\n", 2, "", "not valid YAML"),
    (b"version: 1\nname: \xff\xfe\n", 2, "", "not UTF-8: byte 0xff"),
    ("version: 1".encode("utf-16"), 1, "", "not UTF-8"),
    ("version: 1\nname: \ud800\n", 2, "", "not UTF-8"),
    (LEAST + "mode: observe\nmode: enforce\n", 5, "mode", "given twice; first in line 4"),
    (LEAST + "services: {db: {priority: 1, priority: 2}}\n", 4, "services.db.priority", "given twice"),
    (LEAST + "? [a]\n: b\n", 4, "", "a key must be a single word"),
    (LEAST + "mode: !!python/object:os.system enforce\n", 4, "mode", "the tag"),
    (LEAST + "log: {<<: 5}\n", 4, "log", "<< takes a section"),
    ("a: &a [*a]\n", 1, "a[0]", "holds an alias of itself"),
    ("x: " + "[" * 40 + "]" * 40, 1, "", "nested deeper than 32"),
    ("#" * (1 << 20) + "#", None, "", "larger than 1 MiB"),
    # receivers of notifications
    (LEAST + "notify: [{}]\n", 4, "notify[0]", "expected one of webhook and alertmanager"),
    (LEAST + "notify: [{webhook: http://a, alertmanager: http://b}]\n", 4, "notify[0]", "expected one of"),
    (LEAST + "notify: [{alertmanager: http://b, format: slack}]\n", 4, "notify[0].format", "only for a webhook"),
    (LEAST + "notify: [{webhook: ftp://a/b}]\n", 4, "notify[0].webhook", "expected an address such as https://host/path"),
    (LEAST + "notify: [{webhook: 'http://'}]\n", 4, "notify[0].webhook", "expected an address"),
    (LEAST + "notify: [{webhook: 'http://a:port/'}]\n", 4, "notify[0].webhook", "expected an address"),
    (LEAST + "notify: ['https://hooks.example/x']\n", 4, "notify[0]", "got 'https://hooks.example/…'"),
    # names and types
    (LEAST + "mdoe: enforce\n", 4, "mdoe", "unknown key (did you mean mode?)"),
    (LEAST + "quux: 1\n", 4, "quux", "unknown key; known are version, phases"),
    (LEAST + "services:\n  db:\n    stop_timout: 3s\n", 6, "services.db.stop_timout", "did you mean stop_timeout?"),
    ("project: demo\n" + PHASES, 1, "version", "missing"),
    ("version: 2\nproject: demo\n" + PHASES, 1, "version", "expected 1, got 2"),
    ("version: true\nproject: demo\n" + PHASES, 1, "version", "expected 1, got true"),
    (HEAD, 1, "phases", "missing"),
    (HEAD + "phases: []\n", 3, "phases", "at least 1"),
    (HEAD + "phases:\n", 3, "phases", "got nothing"),
    (HEAD + "phases: [null]\n", 3, "phases[0].phase", "missing"),
    (HEAD + "phases: {core: [db]}\n", 3, "phases", "expected a list of sections, got a section"),
    (HEAD + "phases: [{services: [db]}]\n", 3, "phases[0].phase", "missing"),
    (HEAD + "phases: [{phase: one}]\n", 3, "phases[0].phase", "a whole number of at least 1, got 'one'"),
    (HEAD + "phases: [{phase: 0}]\n", 3, "phases[0].phase", "at least 1, got 0"),
    (HEAD + "phases: [{phase: 1.0}]\n", 3, "phases[0].phase", "a whole number"),
    (LEAST + "mode: enforced\n", 4, "mode", "expected observe or enforce, got 'enforced' (did you mean enforce?)"),
    (LEAST + "mode:\n", 4, "mode", "got nothing"),
    (LEAST + "engine: 5\n", 4, "engine", "expected a section (url, timeout), got 5"),
    (LEAST + "containers: agent\n", 4, "containers", "expected a list of names, got 'agent'"),
    (LEAST + "containers: [1]\n", 4, "containers[0]", "got 1; write it in quotes"),
    (LEAST + "restoring: {enabled: 1}\n", 4, "restoring.enabled", "expected true or false, got 1"),
    (LEAST + "restoring: {max_flaps: 0}\n", 4, "restoring.max_flaps", "at least 1, got 0"),
    (LEAST + "shedding: {max_per_hour: 010}\n", 4, "shedding.max_per_hour", "got '010'"),
    (LEAST + "thresholds: {cpu: false}\n", 4, "thresholds.cpu", "got false; write off"),
    (LEAST + "thresholds: {cpu: of}\n", 4, "thresholds.cpu", "did you mean off?"),
    (LEAST + "thresholds: {swap: {hard: 90%}}\n", 4, "thresholds.swap.hard", "unknown key"),
    (LEAST + "web: {tls: {cert: a}}\n", 4, "web.tls.key", "missing: expected text"),
    # units
    (LEAST + "host: {memory: 4 gigs}\n", 4, "host.memory", "expected a size such as"),
    (LEAST + "host: {cpu: 0}\n", 4, "host.cpu", "expected a number of cores"),
    (LEAST + "engine: {timeout: 5 sec}\n", 4, "engine.timeout", "expected a duration such as"),
    (LEAST + "engine: {timeout: 99999d}\n", 4, "engine.timeout", "2m or 1h30m (30 years at most), got '99999d'"),
    (LEAST + "engine: {timeout: 1:30}\n", 4, "engine.timeout", "expected a duration such as"),
    (LEAST + "thresholds: {memory: {soft: 80}}\n", 4, "thresholds.memory.soft", "did you mean 80%?"),
    (HEAD + "phases: [{phase: 1, services: [a], budget: {cpu: 120%}}]\n", 3, "phases[0].budget.cpu", "expected a share"),
    (HEAD + "phases: [{phase: 1, services: [a], budget: {cpu: lots}}]\n", 3, "phases[0].budget.cpu", "expected a share"),
    # rules
    (PHASES + "version: 1\n", 1, "project", "neither project nor containers"),
    (
        LEAST + "thresholds: {memory: {soft: 90%}}\n",
        4,
        "thresholds.memory.soft",
        "soft (90%) must be below hard (90% by default)",
    ),
    (
        LEAST + "thresholds:\n  cpu:\n    hard: 80%\n",
        6,
        "thresholds.cpu.hard",
        "soft (85% by default) must be below hard (80%)",
    ),
    (LEAST + "thresholds: {disk: {hard: 50%}}\n", 4, "thresholds.disk.hard", "must be below hard"),
    (LEAST + "thresholds: {swap: {recover: 60%}}\n", 4, "thresholds.swap.recover", "recover (60%) must be below soft"),
    (LEAST + "thresholds: {memory: {recover: 0%}}\n", 4, "thresholds.memory.recover", "must be above 0"),
    (LEAST + "restoring: {margin: 80%}\n", 4, "restoring.margin", "nothing is ever restored"),
    (LEAST + "restoring: {backoff: {min: 2h}}\n", 4, "restoring.backoff.min", "must not be above max (1h)"),
    (LEAST + "sampling: {host: 50ms}\n", 4, "sampling.host", "too fast: at least 100ms"),
    (LEAST + "engine: {timeout: 0s}\n", 4, "engine.timeout", "above 0s"),
    (LEAST + "host: {memory: 0}\n", 4, "host.memory", "above 0"),
    (LEAST + "engine: {url: ssh://h}\n", 4, "engine.url", "tcp://host:port"),
    (LEAST + "engine: {url: tcp://h}\n", 4, "engine.url", "tcp://host:port"),
    (LEAST + "target_phase: 2\n", 4, "target_phase", "there is no phase 2"),
    (LEAST + "source: engine\nsampling: {source: cgroups}\n", 4, "source", "engine here and cgroups at sampling.source"),
    (LEAST + "dependencies: order\nshedding: {dependencies: inherit}\n", 5, "shedding.dependencies", "keep one of the two"),
    (LEAST + "web: {listen: localhost}\n", 4, "web.listen", "expected host:port"),
    (LEAST + "web: {listen: '127.0.0.1:70000'}\n", 4, "web.listen", "expected host:port"),
    (LEAST + "web: {listen: '[::g]:1'}\n", 4, "web.listen", "expected host:port"),
    (LEAST + "web: {listen: '0.0.0.0:9877'}\n", 4, "web.listen", "needs web.tls with web.auth, or web.insecure"),
    (LEAST + "web: {listen: ':9877', tls: {cert: c, key: k}}\n", 4, "web.listen", "needs web.tls with web.auth"),
    (LEAST + f"web: {{control: /{'x' * 120}}}\n", 4, "web.control", "a path of 121 bytes"),
    (LEAST + "state_dir: ''\n", 4, "state_dir", "path of a folder"),
    (LEAST + "emergency: {keep: [wbe]}\n", 4, "emergency.keep[0]", "there is no service wbe (did you mean web?)"),
    (LEAST + "emergency: {keep: [db, db]}\n", 4, "emergency.keep[1]", "listed twice"),
    (LEAST + "containers: ['']\n", 4, "containers[0]", "a name is empty"),
    (PHASES + "version: 1\nproject: ''\n", 3, "project", "a name is empty"),
    (LEAST + "web: {control: ''}\n", 4, "web.control", "the path of a Unix socket"),
    (LEAST + "web: {listen: '[1:2]:80'}\n", 4, "web.listen", "expected host:port"),
    (
        LEAST + "services: {db: {requires: [wab]}}\n",
        4,
        "services.db.requires[0]",
        "there is no service wab (did you mean web?)",
    ),
    (LEAST + "services: {db: {requires: [db]}}\n", 4, "services.db.requires[0]", "circle: db → db"),
    (
        LEAST + "services:\n  web: {requires: [db]}\n  db: {requires: [web]}\n",
        6,
        "services.db.requires[0]",
        "circle: db → web → db",
    ),
    (
        LEAST + "services: {db: {limits: {memory: 1MiB}, reservations: {memory: 2MiB}}}\n",
        4,
        "services.db.reservations.memory",
        "reserves 2MiB, more than its limit of 1MiB",
    ),
    (LEAST + "services: {db: {health: {http: x}}}\n", 4, "services.db.health.http", "expected a URL"),
    (LEAST + "services: {db: {health: {http: 'ftp://h/'}}}\n", 4, "services.db.health.http", "expected a URL"),
    (LEAST + "services: {db: {health: {http: 'http://h:99999/'}}}\n", 4, "services.db.health.http", "expected a URL"),
    (LEAST + "services: {db: {health: {http: 'http://h/a b'}}}\n", 4, "services.db.health.http", "expected a URL"),
    (LEAST + "services: {db: {health: {http: 'http://me:word@h/'}}}\n", 4, "services.db.health.http", "expected a URL"),
    (LEAST + "services: {db: {health: {tcp: '5432'}}}\n", 4, "services.db.health.tcp", "expected host:port"),
    (LEAST + "services: {db: {health: {tcp: ':5432'}}}\n", 4, "services.db.health.tcp", "expected host:port"),
    (LEAST + "services: {db: {health: {retries: 2}}}\n", 4, "services.db.health", "give one of http, tcp and command"),
    (
        LEAST + "services: {db: {health: {tcp: 'h:1', command: [a]}}}\n",
        4,
        "services.db.health.command",
        "tcp is given already",
    ),
    (LEAST + "services: {db: {health: {command: ['']}}}\n", 4, "services.db.health.command[0]", "a program"),
    (LEAST + "services: {db: {health: {tcp: 'h:1', interval: 100ms}}}\n", 4, "services.db.health.interval", "at least 1s"),
    (
        LEAST + "services: {db: {protect: true, health: {restart: true}}}\n",
        4,
        "services.db.health.restart",
        "under protect",
    ),
    (LEAST + "services: {db: {health: {tcp: 'h:1', timeout: 0}}}\n", 4, "services.db.health.timeout", "above 0s"),
    (LEAST + "services: {db: {limits: {memory: 0}}}\n", 4, "services.db.limits.memory", "above 0"),
    (
        HEAD + "phases:\n- {phase: 1, services: [a]}\n- {phase: 2, services: [b, a]}\n",
        5,
        "phases[1].services[1]",
        "a is in phase 1 already",
    ),
    (HEAD + "phases: [{phase: 1, services: [a, a]}]\n", 3, "phases[0].services[1]", "a is listed twice"),
    (HEAD + "phases:\n- {phase: 1}\n- {phase: 1}\n", 5, "phases[1].phase", "two phases 1"),
    (HEAD + "phases:\n- {phase: 2}\n", 4, "phases[0].phase", "there is no phase 1"),
    (HEAD + "phases:\n- {phase: 1}\n- {phase: 3}\n", 5, "phases[1].phase", "there is no phase 2"),
    (
        HEAD + "phases:\n- {phase: 2, budget: {memory: 1GiB}}\n- {phase: 1, budget: {memory: 2GiB}}\n",
        4,
        "phases[0].budget.memory",
        "1GiB is less than the 2GiB of phase 1",
    ),
    (
        HEAD + "phases:\n- {phase: 1, budget: {cpu: 50%}}\n- {phase: 2}\n- {phase: 3, budget: {cpu: 40%}}\n",
        6,
        "phases[2].budget.cpu",
        "40% is less than the 50% of phase 1",
    ),
]


@pytest.mark.parametrize(("text", "line", "path", "message"), MISTAKES)
def test_a_mistake_has_its_line_its_path_and_what_is_allowed(
    text: str | bytes, line: int | None, path: str, message: str
) -> None:
    """A mistake is reported alone, with its line, its path and what is allowed."""
    (problem,) = mistakes(text)
    assert (problem.file, problem.line, problem.path) == ("f.yaml", line, path)
    assert message in problem.message


def test_every_mistake_is_reported_at_once() -> None:
    """Every mistake is reported at once, from the top down: of names, types, units and rules alike."""
    text = """\
version: 1
project: demo
mode: enforced
engine: {url: ssh://x, timeout: 5x}
phases:
  - {phase: 1, services: [a, b], budget: {memory: 2GiB}}
  - {phase: 2, services: [b], budget: {memory: 1GiB}, mod: observe}
services:
  a: {requires: [b], kill: never}
  b: {requires: [a], kill: sometimes}
web: {listen: 0.0.0.0:80}
mode: observe
"""
    assert [(problem.line, problem.path) for problem in mistakes(text)] == [
        (3, "mode"),
        (4, "engine.url"),
        (4, "engine.timeout"),
        (7, "phases[1].services[0]"),
        (7, "phases[1].budget.memory"),
        (7, "phases[1].mod"),
        (9, "services.a.requires[0]"),
        (10, "services.b.kill"),
        (11, "web.listen"),
        (12, "mode"),
    ]


def test_a_wrong_value_brings_no_mistakes_after_it() -> None:
    """A value that is wrong by itself takes part in no comparison: one slip is one line."""
    text = LEAST + "thresholds: {memory: {soft: 9O%, hard: 50%}}\nemergency: {keep: [db]}\n"
    assert [problem.path for problem in mistakes(text)] == ["thresholds.memory.soft"]


def test_columns_count_from_one() -> None:
    """The column of a mistake counts from 1, and is that of the value."""
    (problem,) = mistakes(LEAST + "mode: enforced\n")
    assert (problem.line, problem.column) == (4, 7)


def test_a_mistake_reads_as_file_line_path_and_message() -> None:
    """A mistake in words begins with the file and the line, as compilers have it."""
    (problem,) = mistakes(LEAST + "mode: enforced\n")
    assert str(problem).startswith("f.yaml:4: mode: expected observe or enforce")


def test_aliases_that_expand_without_end_are_refused() -> None:
    """A few lines of aliases that come to billions of values are refused, and quickly."""
    problems = mistakes(BILLIONS)
    assert "once its aliases are expanded" in problems[-1].message


def test_merges_that_nest_without_end_are_refused() -> None:
    """A chain of aliases that nests deeper than any configuration is refused, however flat each line is."""
    problems = mistakes(NESTED)
    assert "nested deeper than 32 levels" in problems[-1].message


def test_a_text_that_nests_absurdly_is_refused_quickly() -> None:
    """A text that nests five hundred levels is refused at the thirty-third; of a hundred thousand by libyaml, if not by us."""
    (problem,) = mistakes("[" * 500)
    assert "nested deeper than 32" in problem.message
    (problem,) = mistakes("[" * 100_000)
    assert "nested deeper than 32" in problem.message or "maximum nesting depth" in problem.message


def test_a_file_that_is_not_there_is_a_mistake_in_words(tmp_path: Path) -> None:
    """A file that is not there, or is a folder, is a mistake in words without a line."""
    for path, reason in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError) as caught:
            load(path)
        (problem,) = caught.value.problems
        assert problem.file == str(path)
        assert problem.line is None
        assert reason in problem.message


@pytest.mark.parametrize(
    "line",
    [
        "notify: https://u:S3CRET@hooks.example/S3CRET?S3CRET\n",
        "notify: ['https://hooks.example/S3CRET']\n",
        "notify: [{webhook: 'https:/hooks.example/S3CRET'}]\n",
        "notify: [{webhook: 'https://hooks.example/S3CRET', alertmanager: 'https://S3CRET:x@b/S3CRET'}]\n",
    ],
)
def test_a_mistake_shows_no_secret(line: str) -> None:
    """What is wrong with a receiver is said without what may be secret of its address."""
    assert "S3CRET" not in "".join(map(str, mistakes(LEAST + line)))


def test_no_mistake_is_missing_here() -> None:
    """Every mistake that a file can have is made by a line of this table, or by one of the texts beside it."""
    files = ("config/rules.py", "config/read.py", "config/tree.py", "config/address.py", "config/secret.py", "units.py")
    with reached(*files) as lines:
        for text in (*(row[0] for row in MISTAKES), BILLIONS, NESTED, "[" * 500, "x" * (MAX_BYTES + 1)):
            mistakes(text)
        warnings(loads(LEAST + "emergency: {enabled: true}\n", "f.yaml"), {"GUARDIAN_QUUX": "1"}, "f.yaml")
    assert not never_made(lines, {"add", "problem", "Problem", "ValueError"}, *files)
