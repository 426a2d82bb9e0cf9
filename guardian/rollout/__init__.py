"""A phased roll-out: `plan` and `steps` decide, purely; `run` looks and acts; `progress` is what outlives a crash."""
