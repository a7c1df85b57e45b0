"""What exceptions mean, by their class and status: the real ones of qiskit-ibm-runtime, and those of its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
from qiskit_ibm_runtime import exceptions as ibm
from qiskit_ibm_runtime.api.exceptions import RequestsApiError

from torchbp.errors import InputError
from torchbp.hardware.jobs.failures import Kind, Phase, classify
from torchbp.hardware.jobs.service import LocalJobGone


def raised(build: Callable[[], None]) -> BaseException:
    try:
        build()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def submit_failed(status: int) -> Callable[[], None]:
    """As `QiskitRuntimeService._run` raises it: the status is in the context only."""

    def build() -> None:
        try:
            raise RequestsApiError("no luck", status)
        except RequestsApiError as error:
            raise ibm.IBMRuntimeError(f"Failed to run program: {error}") from None

    return build


def no_network_at_login() -> None:
    try:
        raise requests.exceptions.ConnectionError("Name or service not known")
    except requests.exceptions.ConnectionError as error:
        raise ibm.IBMNotAuthorizedError("The token could not be verified") from error


def throw(error: BaseException) -> Callable[[], None]:
    def build() -> None:
        raise error

    return build


@pytest.mark.parametrize(
    ("build", "phase", "kind", "refused"),
    [
        (throw(ibm.RuntimeJobFailureError("x")), "wait", Kind.FAILED, False),
        (throw(ibm.RuntimeJobFailureError("503 Server Error in the program")), "wait", Kind.FAILED, False),
        (throw(ibm.RuntimeJobMaxTimeoutError("x")), "wait", Kind.FATAL, False),
        (throw(ibm.RuntimeInvalidStateError("x")), "wait", Kind.CANCELLED, False),
        (throw(ibm.RuntimeJobTimeoutError("x")), "wait", Kind.PENDING, False),
        (throw(TimeoutError("x")), "wait", Kind.PENDING, False),
        (throw(TimeoutError("x")), "submit", Kind.NETWORK, False),
        (throw(RequestsApiError("x")), "wait", Kind.NETWORK, False),
        (throw(RequestsApiError("maintenance 503 Server Error: Service Unavailable")), "wait", Kind.NETWORK, False),
        (throw(RequestsApiError("x", 500)), "submit", Kind.NETWORK, False),
        (throw(RequestsApiError("x", 429)), "submit", Kind.BUSY, True),
        (throw(ibm.IBMNotAuthorizedError("x")), "submit", Kind.FATAL, True),
        (no_network_at_login, "submit", Kind.NETWORK, False),
        (submit_failed(-1), "submit", Kind.NETWORK, False),
        (submit_failed(504), "submit", Kind.NETWORK, False),
        (submit_failed(408), "submit", Kind.NETWORK, False),
        (submit_failed(429), "submit", Kind.BUSY, True),
        (submit_failed(403), "submit", Kind.FATAL, True),
        (submit_failed(413), "submit", Kind.FATAL, True),
        (throw(ibm.IBMRuntimeError("x")), "submit", Kind.NETWORK, False),
        (throw(ibm.IBMInputValueError("x")), "submit", Kind.FATAL, True),
        (throw(ibm.IBMAccountError("x")), "submit", Kind.FATAL, True),
        (throw(requests.exceptions.ReadTimeout("x")), "submit", Kind.NETWORK, False),
        (throw(requests.exceptions.HTTPError("404 Client Error: Not Found for url")), "find", Kind.FATAL, False),
        (throw(ConnectionResetError("x")), "submit", Kind.NETWORK, False),
        (throw(InputError("x")), "submit", Kind.FATAL, True),
        (throw(LocalJobGone("x")), "wait", Kind.FAILED, False),
        (throw(ZeroDivisionError("x")), "submit", Kind.FATAL, False),
        (throw(FileNotFoundError("x")), "submit", Kind.FATAL, False),
    ],
)
def test_classes(build: Callable[[], Any], phase: Phase, kind: Kind, refused: bool) -> None:
    """Oracle: what was seen of qiskit-ibm-runtime 0.51, by hand; raised, so that contexts are what they are there."""
    found = classify(raised(build), phase)
    assert (found.kind, found.refused) == (kind, refused)
