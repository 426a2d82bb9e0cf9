"""Keeps the configuration current: what the file says, what of it is in force, and what waits for an operator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from guardian import logs
from guardian.clock import Clock
from guardian.config.load import loads
from guardian.config.reload import FileWatch, Reload, apply
from guardian.config.schema import Config
from guardian.errors import ConfigError
from guardian.expose.orders import OrderReply
from guardian.telemetry import Telemetry

_log = logs.get("config")


class Reloader:
    """`poll` now and then; `order` on SIGHUP or `guardian reload`. Each returns the configuration to take, or None."""

    def __init__(
        self,
        path: Path,
        loaded: bytes,
        config: Config,
        flags: Mapping[str, object],
        environ: Mapping[str, str],
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._path = path
        self._config = config
        self._flags = flags
        self._environ = environ
        self._clock = clock
        self._telemetry = telemetry
        self._watch = FileWatch(path, loaded)
        self._last: Reload | None = None
        self._error: ConfigError | None = None
        telemetry.config_reloaded(True, clock.wall())

    @property
    def pending(self) -> tuple[str, ...]:
        """What the file says and is not in force, as a diff in words."""
        return () if self._last is None else tuple(str(one) for one in (*self._last.pending, *self._last.refused_until_restart))

    @property
    def failed(self) -> bool:
        """Whether the file, as it was last read, has mistakes."""
        return self._error is not None

    def poll(self) -> Config | None:
        """Take what an edit applies by itself, once the file has been unchanged for a second."""
        try:
            content = self._watch.poll(self._clock.monotonic())
            return None if content is None else self._take(content, ordered=False)
        except ConfigError as error:
            self._refuse(error)
            return None

    def order(self) -> Config | None:
        """Take everything that the file says now, save what needs a restart."""
        try:
            return self._take(self._watch.read(), ordered=True)
        except ConfigError as error:
            self._refuse(error)
            return None

    def reply(self) -> OrderReply:
        """What came of the last order. Raises the ConfigError of a file with mistakes: nothing has changed then."""
        if self._error is not None:
            raise self._error
        if self._last is None:
            return OrderReply(True, "nothing has changed")
        applied = tuple(str(one) for one in self._last.applied)
        waits = tuple(str(one) for one in self._last.refused_until_restart)
        message = f"{len(applied)} change{'' if len(applied) == 1 else 's'} applied" + (
            f", {len(waits)} wait for a restart" if waits else ""
        )
        return OrderReply(True, message, (*applied, *waits))

    def _take(self, content: bytes, ordered: bool) -> Config | None:
        new = loads(content, str(self._path), self._environ, self._flags)
        reload = apply(self._config, new, self._config.reload, ordered)
        self._last, self._error = reload, None
        self._telemetry.config_reloaded(True, self._clock.wall())
        for change in reload.applied:
            _log.warning("configuration changed", change=str(change))
        for change in (*reload.pending, *reload.refused_until_restart):
            _log.warning("configuration change waits", change=str(change))
        if reload.config == self._config:
            return None
        self._config = reload.config
        return reload.config

    def _refuse(self, error: ConfigError) -> None:
        self._error = error
        self._telemetry.config_reloaded(False, self._clock.wall())
        for problem in error.problems:
            _log.error("configuration refused; the old one stays in force", problem=str(problem))
