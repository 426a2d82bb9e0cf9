"""The rules. Everything here is pure: `(observations, state, config, now) -> (result, state')`, with no clock and no effects."""
