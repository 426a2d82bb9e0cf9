"""Two minutes of what `make chaos` does: many faults at once, over a real engine, by a plan that a seed makes."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos.plan import plan
from chaos.run import run
from chaos.stage import a_home
from support.private_engine import PrivateEngine

pytestmark = pytest.mark.long
SEED = 2026
SECONDS = 120


@pytest.mark.timeout(600)
def test_two_minutes_of_faults_break_no_promise(standin_engine: PrivateEngine, capsys: pytest.CaptureFixture[str]) -> None:
    """Through two minutes of faults at random nobody else is touched, nothing is forgotten, invented or grown; then all is as it was."""

    def say(text: str) -> None:
        with capsys.disabled():
            print(text)  # noqa: T201

    with a_home() as home:
        run(SEED, plan(SEED, SECONDS), standin_engine, Path(home), say)
