"""`make chaos SEED=… MINUTES=…`: one run on an engine of its own. Exits with 1 where an invariant does not hold."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
from pathlib import Path

from support.private_engine import EngineSetupError, PrivateEngine
from support.standin import import_standin

from chaos.judge import Broken
from chaos.plan import plan
from chaos.run import run
from chaos.stage import a_home

KEPT = Path(__file__).parents[2] / ".run" / "chaos"


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="makes the plan; else one at random")
    parser.add_argument("--minutes", type=float, default=10.0, help="for which faults begin; then it comes to rest")
    parser.add_argument("--plan", action="store_true", help="show the plan, and do nothing")
    options = parser.parse_args()
    if not options.minutes > 0:
        parser.error("--minutes: expected more than 0, such as MINUTES=10")
    faults = plan(options.seed, 60 * options.minutes)
    say(f"seed {options.seed}, {options.minutes:g} minutes, {len(faults)} faults")
    if options.plan:
        say("\n".join(map(str, faults)))
        return 0
    try:
        with a_home() as home:
            engine = PrivateEngine()
            try:
                engine.start()
                import_standin(engine)
                run(options.seed, faults, engine, home, say)
            except Broken as broken:
                KEPT.mkdir(parents=True, exist_ok=True)
                for log in (home / "guardian/guardian.log", engine.home / "log"):
                    shutil.copy(log, KEPT / f"{options.seed}.{log.parent.name}.log")
                say(f"BROKEN with seed {options.seed}: {broken}\nthe whole logs of guardian and of the engine are in {KEPT}")
                return 1
            finally:
                engine.remove()
    except EngineSetupError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
