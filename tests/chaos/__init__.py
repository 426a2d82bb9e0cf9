"""Seeded random faults: `make chaos SEED=… MINUTES=…` over a real engine, and `make soak DAYS=…` on a virtual host."""
