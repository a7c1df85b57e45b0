"""No secrets: what foreign code says is freed of tokens, accounts and instances before it is kept or shown.

A service's exceptions may carry the request that failed, with its headers. So nothing foreign is raised on, chained
to, or written down: `describe` makes a text of it, and that is all that leaves the file that talks to the service.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

HIDDEN = "[hidden]"
_LONGEST = 2000  # characters of a foreign message worth keeping
_SHORTEST = 6  # a shorter "secret" is a word that would be missed elsewhere

_PATTERNS = [
    re.compile(pattern)
    for pattern in (
        r"(?i)crn:v\d[^\s\"'`,;)\]}>]*",  # an instance, with the account in it
        r"(?i)\b(?:bearer|basic|apikey)\s+[^\s\"',;)\]}]{6,}",  # headers
        r"(?<=://)[^/\s@]+(?=@)",  # user and password in an address
        r"eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?",  # JSON web tokens
        r"(?<![\w-])(?=[\w-]*\d)(?=[\w-]*[a-z])(?=[\w-]*[A-Z])[\w-]{44}(?![\w-])",  # IBM Cloud API keys
        r"\b(?:[0-9a-f]{128}|[0-9a-f]{32})\b",  # IBM Quantum Platform tokens and accounts
        r"[\w.+-]+@[\w-]+\.[\w.-]+",  # e-mail
    )
]
_NAMED = re.compile(  # token=..., "api_key": "...", 'Authorization': '...'
    r"(?i)([\"']?\b[\w-]*(?:token|api_?-?key|password|passwd|secret|authorization|account_?-?id|crn|cookie)[\"']?"
    r"\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s\"',;)\]}&]+)"
)
_VARIABLES = re.compile(r"(?i)(ibm|qiskit|ionq|aws|azure).*(token|key|secret|instance|crn|password|url)")


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without secrets: those given, those in environment variables of quantum services, and what looks so."""
    known = {value for name, value in os.environ.items() if _VARIABLES.search(name)} | set(secrets)
    for secret in sorted(known, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, HIDDEN)
    text = _NAMED.sub(rf"\g<1>{HIDDEN}", text)
    for pattern in _PATTERNS:
        text = pattern.sub(HIDDEN, text)
    return text


def describe(error: BaseException, secrets: Iterable[str] = ()) -> str:
    """An exception and what it came from, as one line without secrets."""
    parts = [f"{type(e).__name__}: {e}" if str(e) else type(e).__name__ for e in chain(error)]
    text = redact(" ".join(" (from ".join(parts).split()) + ")" * (len(parts) - 1), secrets)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."


def chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, what it was raised from or while handling, and so on, suppressed or not."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
