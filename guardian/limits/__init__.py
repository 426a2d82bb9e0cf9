"""Limits of services: what the file wants, what is in force, what use would call for. Pure; the calls are in `guardian.engine.limits`."""
