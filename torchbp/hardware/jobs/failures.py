"""What an exception of a quantum service means for a job: wait, look, send again, or stop.

Classes are known by name, so that no service's package is needed. Names are those of qiskit-ibm-runtime 0.51, Qiskit
2, requests and Python.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from torchbp.hardware.jobs.redaction import chain, describe

Phase = Literal["submit", "find", "wait"]


class Kind(Enum):
    """What to do about a failure."""

    FATAL = "stop: the same again would fail again"
    BUSY = "nothing was accepted: send again later"
    NETWORK = "no answer: ask again; what was sent may have arrived"
    FAILED = "the job ran and failed: send it again"
    CANCELLED = "somebody cancelled the job"
    PENDING = "the job goes on: wait for it, send nothing"


@dataclass(frozen=True)
class Failure:
    """An exception, understood.

    Attributes:
        kind: what to do.
        text: what it said, without secrets.
        refused: whether it is certain that the service did not take the job it was sent.
    """

    kind: Kind
    text: str
    refused: bool = False


_JOB = {  # what became of the job: this decides, whatever numbers its message holds
    "RuntimeJobFailureError": Kind.FAILED,
    "RuntimeJobMaxTimeoutError": Kind.FATAL,  # longer than the service allows: so would the next be
    "RuntimeInvalidStateError": Kind.CANCELLED,
    "RuntimeJobNotFound": Kind.FATAL,
    "RuntimeJobTimeoutError": Kind.PENDING,
    "JobTimeoutError": Kind.PENDING,
    "LocalJobGone": Kind.FAILED,
}
_NAMES = _JOB | {
    "UserTimeoutExceededError": Kind.PENDING,
    "TimeoutError": Kind.PENDING,
    "JobError": Kind.FAILED,
    "AerError": Kind.FAILED,
    # The connection
    "ApiError": Kind.NETWORK,
    "IBMApiError": Kind.NETWORK,
    "IBMBackendApiError": Kind.NETWORK,
    "IBMBackendApiProtocolError": Kind.NETWORK,
    "IBMRuntimeError": Kind.NETWORK,
    "ConnectionError": Kind.NETWORK,
    "RequestException": Kind.NETWORK,
    "HTTPError": Kind.NETWORK,
    "gaierror": Kind.NETWORK,
    "SSLError": Kind.NETWORK,
    # Who asks, and what for
    "AuthenticationLicenseError": Kind.FATAL,
    "IBMAccountError": Kind.FATAL,
    "IBMBackendValueError": Kind.FATAL,
    "IBMInputValueError": Kind.FATAL,
    "IBMNotAuthorizedError": Kind.FATAL,
    "QiskitBackendNotFoundError": Kind.FATAL,
    "RuntimeProgramNotFound": Kind.FATAL,
    "TorchBPError": Kind.FATAL,
    "TypeError": Kind.FATAL,
    "ValueError": Kind.FATAL,
}
_STATUS = re.compile(r"\b([45]\d\d) (?:Client|Server) Error\b")


def classify(error: BaseException, phase: Phase, secrets: Iterable[str] = ()) -> Failure:
    """What an exception means.

    Args:
        error: as the service's client raised it.
        phase: what it was asked to do: "submit" a job, "find" one, or "wait" for its result.
        secrets: that its text must not show.

    Classes that tell what became of a job decide; then the HTTP status, also that of an exception behind this one, as
    without a network a token that can't be checked looks like a wrong one; then the class, and what it derives from.
    What nobody has heard of is fatal, and may have arrived.
    """
    own = next((n for n in _names(error) if n in _NAMES), None)
    status = None if own in _JOB else _status(error)
    if status is not None:
        kind = _by_status(status)
    else:
        kind = _NAMES[own] if own else Kind.FATAL
        _, *behind = chain(error)
        if own not in _JOB and any(_NAMES.get(n) is Kind.NETWORK for e in behind for n in _names(e)):
            kind = Kind.NETWORK
    if kind is Kind.PENDING and phase != "wait":
        kind = Kind.NETWORK  # the answer was late; the job may be there
    known = own is not None or status is not None
    refused = phase == "submit" and (kind is Kind.BUSY or (kind is Kind.FATAL and known))
    return Failure(kind, describe(error, secrets), refused)


def _names(error: BaseException) -> list[str]:
    return [c.__name__ for c in type(error).__mro__]


def _status(error: BaseException) -> int | None:
    """The HTTP status of an exception or of those behind it, -1 for one that got no answer."""
    for e in chain(error):
        status = getattr(e, "status_code", None)
        if status is None:
            status = getattr(getattr(e, "response", None), "status_code", None)
        if isinstance(status, int) and status > 0:
            return status
        if found := _STATUS.search(str(e)):
            return int(found[1])
        if status == -1:
            return -1
    return None


def _by_status(status: int) -> Kind:
    if status == 429:
        return Kind.BUSY
    return Kind.FATAL if 400 <= status < 500 and status != 408 else Kind.NETWORK
