"""Guardian keeps the services that matter alive on an overloaded Docker host."""

__version__ = "0.1.0"
