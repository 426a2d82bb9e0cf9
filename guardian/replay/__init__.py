"""A recording, or a simulated host, decided anew: what a configuration would have done."""
