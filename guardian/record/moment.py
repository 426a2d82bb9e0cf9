"""One tick as it is handed to the recording: references to frozen values, which the recording's own thread encodes."""

from __future__ import annotations

from dataclasses import dataclass

from guardian.config.schema import Config
from guardian.model import Assessment, Decision, Mode, Sample
from guardian.policy.inputs import Inputs
from guardian.policy.state import PolicyState


@dataclass(frozen=True, slots=True)
class Moment:
    """All that a tick's decision was made of, and the decision."""

    number: int  # of the tick: one that is missing was not recorded
    now_s: float
    now_wall_s: float
    interval_s: float  # as `assess` was told
    slept: bool  # the host was suspended since the tick before
    sample: Sample
    excluded: frozenset[str]  # ids of containers that are never managed
    inputs: Inputs
    config: Config
    mode: Mode
    before: PolicyState  # what the policy remembered
    assessment: Assessment
    decision: Decision
