"""Tells people and an Alertmanager what changed, past any Prometheus."""
