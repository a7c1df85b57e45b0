"""No secrets: what foreign code says is freed of tokens, accounts and instances before it is kept or shown.

A service's exceptions may carry the request that failed, with its headers. So nothing foreign is raised on, chained
to, or written down: `describe` makes a text of it, and that is all that leaves the file that talks to the service.

What is hidden: values that are known, then what the table of patterns knows by its name or its looks, then whatever is
as disordered as only a key is. What it does not hide: a secret of plain words that nobody named.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any
from urllib.parse import quote

HIDDEN = "[hidden]"
_LONGEST = 2000  # characters of a foreign message worth keeping
_SHORTEST = 6  # a shorter "secret" is a word that would be missed elsewhere

_NAMES = (
    r"token|api[_-]?key|(?:access|private|secret|account|shared|signing|encryption|auth)[_-]?key(?:[_-]?id)?|secret"
    r"|pass(?:word|wd|phrase|code)|pwd|credentials?|signature|sig|account[_-]?id|session[_-]?id|crn"
)
_QUOTE = r"(?:\\*[\"'])?"  # also as JSON within JSON has it
_IS = r"\s*(?:=>|[=:]|%3[ad])\s*"
_VALUE = (
    r"(?:\\+[\"'].*?\\+[\"']|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"
    r"|(?:(?:bearer|basic|token)\s+)?[^\s\"',;)\]}&\\]+)"
)
_PATTERNS = {
    "private keys": r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    "headers": rf"(?i)(authorization{_QUOTE}{_IS}{_QUOTE})(?:[a-z][\w-]*\s+)?[^\s,;\"')\]}}\\]+"
    r"(?:[,;]\s*[\w-]+=[^\s,;\"'}]+)*",
    "cookies": rf"(?i)(cookie{_QUOTE}{_IS}{_QUOTE})[^\s;\"'\\]+(?:;\s*[^\s;\"'\\]+)*",
    "instances, with the account in them": r"(?i)crn(?::|%(?:25)*3a)v\d[^\s\"'`,;)\]}>\\]*",
    "values with a name": rf"(?is)(?<![\w.-])([\w.-]*(?:{_NAMES}){_QUOTE}{_IS}){_VALUE}",
    "queries": r"(?i)((?:[?&]|%3f|%26)(?:key|code|auth|jwt|pass|sv|se)(?:=|%3d))[^\s&\"'<>#\\)]+",
    "schemes": r"(?i)\b((?:bearer|apikey|basic(?=\s+\S*(?:[\d=]|(?-i:[A-Z]))))\s+)[^\s\"',;)\]}\\]{6,}",
    "user and password in an address": r"(?i)(?<=://)[^/\s@]+(?=@)|(?<=%3a%2f%2f)[^\s/]+?(?=%40)",
    "JSON web tokens": r"eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?",
    "Amazon Web Services": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "keys that tell whose they are": r"\b(?:gh[a-z]_|github_pat_|glpat-|xox[a-z]-|hf_|pypi-|npm_|AIza|ya29\.|sk-)"
    r"[\w.-]{10,}",
    "IBM Cloud API keys": r"(?<![\w-])(?=[\w-]*\d)(?=[\w-]*[a-z])(?=[\w-]*[A-Z])[\w-]{44}(?![\w-])",
    "IBM Quantum Platform tokens and accounts": r"(?<![0-9a-fA-F])(?:[0-9a-f]{128}|[0-9a-f]{32})(?![0-9a-fA-F])",
    "e-mail": r"[\w.+-]+(?:@|%40)[\w-]+\.[\w.-]+",
}
"""What is a secret by its name or its looks; a pattern's first group, where it has one, is what stays."""

_COMPILED = [re.compile(pattern) for pattern in _PATTERNS.values()]
_LONG = re.compile(r"[A-Za-z0-9+/_-]{20,}={0,2}")
_VARIABLES = re.compile(
    r"(?i)(ibm|qiskit|ionq|aws|azure).*(token|key|secret|instance|crn|password|url)"
    r"|(token|api_?key|secret|secret_key|access_key|private_key|password|passwd)$"
)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without secrets: those given, those in environment variables, and what looks so."""
    known = {value for name, value in os.environ.items() if _VARIABLES.search(name)} | set(secrets)
    for secret in sorted(known, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, HIDDEN).replace(quote(secret, safe=""), HIDDEN)
    for pattern in _COMPILED:
        text = pattern.sub(_hide, text)
    return _LONG.sub(lambda found: HIDDEN if _is_disordered(found[0]) else found[0], text)


def redact_all(value: Any) -> Any:
    """The same for every text in dicts and lists, such as those of an event; keys and other values stay."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _redact_named(key, part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [redact_all(part) for part in value]
    return value


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


def _redact_named(name: Any, value: Any) -> Any:
    """A value, hidden also where only its name says that it is a secret."""
    if not isinstance(value, str):
        return redact_all(value)
    return HIDDEN if HIDDEN in redact(f"{name}=value") else redact(value)


def _hide(found: re.Match[str]) -> str:
    kept = found.re.groups and found[1]
    return f"{kept or ''}{HIDDEN}"


def _is_disordered(text: str) -> bool:
    """Whether a long word is more likely drawn at random than written.

    Of random letters and digits 62% of neighbours differ in kind (small, capital, digit), of names in camel case about
    a quarter; a random text of 20 has an entropy of about 4 bits a character.
    """
    kinds = ["a" if c.islower() else "A" if c.isupper() else "0" if c.isdigit() else "" for c in text]
    if not {"a", "A", "0"} <= set(kinds):
        return False
    changes = sum(one != other for one, other in pairwise(kinds) if one and other)
    entropy = -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())
    return changes >= 0.38 * len(text) and entropy > 3.4
