"""Seeded random faults for hours and weeks: `make soak DAYS=…` on a virtual host."""
