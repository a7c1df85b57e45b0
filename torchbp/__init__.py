"""Find, explain and treat vanishing gradients in hybrid quantum-classical networks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Circuit",
    "PauliSum",
    "QuantumLayer",
    "TorchBPError",
    "__version__",
    "accelerate",
    "feature",
    "mark_quantum",
    "pretrain",
    "probe",
    "torchquantum",
    "weight",
]

_HOMES = {
    "Circuit": "torchbp.circuits",
    "PauliSum": "torchbp.circuits",
    "QuantumLayer": "torchbp.layer",
    "TorchBPError": "torchbp.errors",
    "accelerate": "torchbp.layer.accelerate",
    "feature": "torchbp.circuits",
    "pretrain": "torchbp.trainability.pretraining",
    "mark_quantum": "torchbp.translation.adapters.marking",
    "probe": "torchbp.gradients.probe",
    "torchquantum": "torchbp._torchquantum",
    "weight": "torchbp.circuits",
}

if TYPE_CHECKING:
    from torchbp.circuits import Circuit, PauliSum, feature, weight
    from torchbp.errors import TorchBPError
    from torchbp.gradients.probe import probe
    from torchbp.layer import QuantumLayer
    from torchbp.layer.accelerate import accelerate
    from torchbp.trainability.pretraining import pretrain
    from torchbp.translation.adapters.marking import mark_quantum
else:  # hidden from type checkers, which would take any name at all for one of ours

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'torchbp' has no attribute {name!r}; it has {', '.join(__all__)}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
