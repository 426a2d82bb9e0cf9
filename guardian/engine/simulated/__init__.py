"""A simulated host and engine: the same protocol as Docker's, with services whose use follows a scenario."""

from guardian.engine.simulated.actor import VirtualActor
from guardian.engine.simulated.engine import SimulatedEngine
from guardian.engine.simulated.host import SimulatedHost
from guardian.engine.simulated.reading import built_in, find_scenario
from guardian.engine.simulated.scenario import Scenario

__all__ = ["Scenario", "SimulatedEngine", "SimulatedHost", "VirtualActor", "built_in", "find_scenario"]
