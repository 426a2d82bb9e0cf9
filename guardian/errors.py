"""The errors that cross module borders. Each message says what, where and what to do."""

from __future__ import annotations

from dataclasses import dataclass

EXIT_CODES = {
    0: "done",
    1: "refused, or failed in part",
    2: "wrong usage",
    69: "the daemon or the engine cannot be reached",
    78: "a mistake in the configuration",
    130: "interrupted by Ctrl-C",  # 128 + SIGINT, as shells have it
}
"""What the command line ends with -> what that means."""


class GuardianError(Exception):
    """Base of every error that a user may see; `exit_code` is what the command line ends with.

    `advice` is what to do about any of its kind; the command line adds it where the message itself says nothing after a `;`.
    """

    exit_code = 1
    advice = ""

    def in_full(self) -> str:
        """What, where and what to do, as the command line prints it."""
        return f"{self}; {self.advice}" if self.advice and ";" not in str(self) else str(self)


class UsageError(GuardianError):
    """The command line or an order was not understood."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a configuration file.

    `line` and `column` count from 1 and are None where the mistake has no place (a missing file).
    `path` is dotted, as in `thresholds.memory.soft` or `phases[2].services[0]`.
    """

    file: str
    line: int | None
    column: int | None
    path: str
    message: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


class ConfigError(GuardianError):
    """A configuration that cannot be used; carries every mistake found, never only the first."""

    exit_code = 78

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class UnreachableError(GuardianError):
    """The daemon's control socket does not answer."""

    exit_code = 69


class EngineError(GuardianError):
    """A call to the engine failed. `reason` is a short label fit for a metric."""

    exit_code = 69
    reason = "error"


class EngineUnreachable(EngineError):
    """No connection to the engine, or it was cut."""

    reason = "unreachable"
    advice = "is Docker running there, and `engine.url` (or DOCKER_HOST) right? `guardian doctor` looks at it"


class EngineTimeout(EngineError):
    """The engine did not answer within the call's deadline."""

    reason = "timeout"
    advice = "it may be overloaded, or hang: try again; `journalctl -u docker` may say why"


class EngineRefused(EngineError):
    """The engine answered, and said no (a status of 400 or more that is not a normal outcome)."""

    reason = "refused"
    advice = "`journalctl -u docker` may say more"


class EngineProtocolError(EngineError):
    """The engine's answer could not be understood."""

    reason = "protocol"
    advice = "guardian needs Docker 20.10 or newer; `guardian doctor` looks at it"


class ComposeError(GuardianError):
    """Compose is not here, or did not do what it was asked."""


class SignalError(GuardianError):
    """Processes cannot be ended without the engine: they are not found, not seen, or may not be signalled."""


class LedgerError(GuardianError):
    """The ledger cannot be opened, read or written."""


class AlreadyRunning(GuardianError):
    """Another guardian has this state directory, control socket or engine."""


def unreadable(error: Exception) -> str:
    """Why a file that somebody named cannot be read, and what to do."""
    why = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"{why}; name one that is there"
    if isinstance(error, IsADirectoryError):
        return f"{why}; name a file in it"
    if isinstance(error, PermissionError):
        return f"{why}; read it as root, or as a user who may"
    return f"{why}; name another"
