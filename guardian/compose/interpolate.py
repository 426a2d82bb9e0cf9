"""`$VARIABLE` and `${VARIABLE…}` in the values of a Compose file, and the `.env` file that some of them come from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_MAX_NESTED = 16  # defaults within defaults
_LONGEST = 4096  # characters within braces
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*[=:]\s*(.*)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "$": "$"}


@dataclass(slots=True)
class Interpolation:
    """Values of variables, and what was missing while they were put in."""

    variables: Mapping[str, str]
    complaints: list[str] = field(default_factory=list)

    def text(self, text: str) -> str:
        """`text` with its variables put in. What cannot be put in is said in `complaints`: then the value is empty."""
        return self._text(text, 0) if "$" in text else text

    def _text(self, text: str, nested: int) -> str:
        made: list[str] = []
        at = 0
        while (dollar := text.find("$", at)) >= 0:
            made.append(text[at:dollar])
            after = text[dollar + 1 : dollar + 2]
            if after == "$":
                made.append("$")
                at = dollar + 2
            elif after == "{" and (end := _closing(text, dollar + 2)) is not None:
                made.append(self._braced(text[dollar + 2 : end], nested))
                at = end + 1
            elif name := _NAME.match(text, dollar + 1):
                made.append(self._plain(name[0]))
                at = name.end()
            else:
                self.complaints.append(f"a `$` that begins no variable in {text!r}; write `$$` for the sign itself")
                made.append("$")
                at = dollar + 1
        made.append(text[at:])
        return "".join(made)

    def _plain(self, name: str) -> str:
        if name not in self.variables:
            self.complaints.append(f"the variable {name} is not set, so this is empty; set it in the environment or in .env")
        return self.variables.get(name, "")

    def _braced(self, inside: str, nested: int) -> str:
        name = _NAME.match(inside)
        operator = _OPERATOR.match(inside, name.end()) if name else None
        if name is None or (operator is None and name.end() < len(inside)) or nested > _MAX_NESTED:
            self.complaints.append(f"`${{{inside}}}` cannot be understood; write ${{NAME}} or ${{NAME:-default}}")
            return ""
        if operator is None:
            return self._plain(name[0])
        value = self.variables.get(name[0])
        given = bool(value) if operator[0].startswith(":") else value is not None
        rest = inside[operator.end() :]
        if operator[0].endswith("+"):
            return self._text(rest, nested + 1) if given else ""
        if given:
            return value or ""
        if operator[0].endswith("-"):
            return self._text(rest, nested + 1)
        said = f" ({rest})" if rest else ""
        self.complaints.append(f"the variable {name[0]} is required{said} and not set; set it in the environment or in .env")
        return ""


def _closing(text: str, start: int) -> int | None:
    """Where the brace that was opened before `start` is closed."""
    depth = 1
    for at in range(start, min(len(text), start + _LONGEST)):
        if text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
        elif text[at] == "{" and text[at - 1] == "$":
            depth += 1
    return None


def parse_env_file(content: str, outside: Mapping[str, str]) -> dict[str, str]:
    """The variables of an .env file. Later lines may use earlier ones, and `outside`, which goes before the file."""
    found: dict[str, str] = {}
    for line in content.splitlines():
        match = _ASSIGNMENT.fullmatch(line)
        if match is None:  # a comment, an empty line, or what Compose would not read either
            continue
        name, written = match[1], match[2].strip()
        if written.startswith("'") and (end := written.find("'", 1)) > 0:
            found[name] = written[1:end]
            continue
        quoted = re.match(r'"((?:[^"\\]|\\.)*)"', written)
        text = re.sub(r"\\(.)", lambda one: _ESCAPES.get(one[1], one[0]), quoted[1]) if quoted else _uncommented(written)
        found[name] = Interpolation({**found, **outside}).text(text)
    return found


def _uncommented(written: str) -> str:
    comment = re.search(r"(^|\s)#", written)
    return written[: comment.start()].rstrip() if comment else written
