"""Writes `docs/configuration.md` and `docs/guardian.schema.json` from the schema: `python -m guardian.config.reference --check|--write`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from guardian.config.jsonschema import json_schema
from guardian.config.schema import RESTING, Config, NotifyConfig, PhaseConfig, ServiceConfig, ThresholdsConfig
from guardian.config.shape import Key, Shape, keys
from guardian.generated import DOCS, main
from guardian.units import spell

_HEAD = """\
# Configuration

Generated from `guardian/config/schema.py` by `python -m guardian.config.reference --write`: edit that, not this.

Guardian reads one YAML file, `config/guardian.yaml` for the reference platform. Only `version`, `phases`, and one of `project` and
`containers` are needed; everything else has a default. `guardian check FILE` reports every mistake at once, each with its line and what is
allowed, and ends with 78; `guardian check FILE --engine` also compares the file with what runs. Editors complete and check the file with
`docs/guardian.schema.json`: put `# yaml-language-server: $schema=…/guardian.schema.json` in its first line.

## Values

| kind | written | means |
|---|---|---|
| size | `512MiB`, `1.5GiB`, `1GB`, `1048576` | bytes; `Ki`, `Mi`, `Gi`, `Ti` count by 1024, `k`, `M`, `G`, `T` by 1000 |
| share | `80%`, `0.8` | a ratio from 0 to 1 |
| cores | `1.5 cores`, `0.5` | CPU cores |
| share of CPU | `25%`, `1.5 cores`, `1.5` | of the whole capacity (`host.cpu`, else the host); or cores outright |
| duration | `500ms`, `10s`, `2m`, `1h30m`, `10` | seconds, unless a unit says otherwise |
| address | `https://host/path` | of HTTP or HTTPS; no more of it than its host is ever shown, for the rest may be a secret |

`off` is the word off, not a boolean. Anchors, aliases and `<<` work. A section that is partly given keeps the default of the rest:
`memory: {soft: 75%}` leaves hard and recover as they are. A section with every line commented out is as good as none.

## What wins

The file, under the environment, under flags of the command line. Every single value has a variable: the path in capitals with `_` for each dot,
after `GUARDIAN_` (`mode` is `GUARDIAN_MODE`, `web.listen` is `GUARDIAN_WEB_LISTEN`). An unknown variable of that kind is only warned of.

## Changing it while guardian runs

| kind of change | by itself (`reload: thresholds`) | SIGHUP, `guardian reload` |
|---|---|---|
| thresholds, budgets, timings and `notify`; anything that makes guardian less bold (`enforce → observe`, more protection) | at once | at once |
| anything that widens what it may stop: lost protection, a service new, moved or removed, `observe → enforce`, priorities, limits, another project | waits, shown as a diff | at once |
| `state_dir`, `engine`, `web`, `log`, `sampling.source` | needs a restart | needs a restart |

An edit counts once the file has stayed the same for a second. `reload: all` applies the second row by itself too, `reload: none` nothing.
A file with mistakes changes nothing: the old configuration stays, every mistake is logged, and `guardian_config_last_reload_successful` is 0.
So does an edit whose tuning does not fit what still waits (a smaller budget for phase 3, say, together with a phase that goes): it waits as a whole.

## Keys

"""


def reference() -> str:
    """The whole page."""
    return _HEAD + "\n".join(_sections(Config, "", "The top of the file"))


def files() -> Mapping[Path, str]:
    """Every generated file, with what it should hold."""
    return {
        DOCS / "configuration.md": reference(),
        DOCS / "guardian.schema.json": json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n",
    }


def _sections(section: type[Struct], path: str, title: str, base: Struct | str | None = None) -> Iterator[str]:
    """The section's table, then those of the sections below it. `base`: what its keys are where they are not given, as figures or in words."""
    about = " ".join((section.__doc__ or "").split())
    rows = [
        f"| `{key.name}` | {_allowed(key.shape)} | {_default(key, base)} | {key.shape.description} |" for key in keys(section)
    ]
    yield f"### {title}\n\n{about}\n\n| key | value | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    for key in keys(section):
        here = f"{path}.{key.name}" if path else key.name
        below = key.shape
        if below.section is not None:
            resting = RESTING.get(key.name) if section is ThresholdsConfig else None
            below_base = f"as in `{path}.{resting[0]}`" if resting else key.default
            yield from _sections(below.section, here, f"`{here}`", below_base)
        elif below.items is not None and below.items.section in (PhaseConfig, NotifyConfig):
            yield from _sections(below.items.section, f"{here}[]", f"`{here}[]`")
        elif below.values is not None and below.values.section is ServiceConfig:
            yield from _sections(ServiceConfig, f"{here}.NAME", f"`{here}.NAME`")


def _allowed(shape: Shape) -> str:
    text = "a section" if shape.section is not None else shape.allowed
    if shape.section is not None and shape.words:
        text += f", or {', '.join(shape.words)}"
    return text.replace("|", "\\|")


def _default(key: Key, base: Struct | str | None) -> str:
    if isinstance(base, str):
        return base
    if key.required and base is None:
        return "**needed**"
    default = key.default if base is None else getattr(base, key.name)
    if isinstance(default, Struct):
        own = {name: getattr(default, name) for name in default.__struct_fields__}
        if key.shape.words:  # thresholds: the same section, with other figures each time
            return "`{" + ", ".join(f"{name}: {spell(value)}" for name, value in own.items()) + "}`"
        return "below"
    if default in (None, (), {}, ""):
        return "none"
    return f"`{spell(default)}`"


if __name__ == "__main__":
    sys.exit(main("guardian.config.reference", files(), sys.argv[1:]))
