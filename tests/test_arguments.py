"""Every public callable against a battery of wrong arguments: each is refused in torchbp's words, or was meant.

The callables are found, not listed: a new one without checks, or without a call to try it by, fails here.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import libraries
import pytest
import torch
from torch import nn

import torchbp
from torchbp import trainability
from torchbp.arguments import checked
from torchbp.arguments.kinds import a, each, either, real, whole
from torchbp.arguments.words import WORDS
from torchbp.backends import NoiseModel, PropagationBackend
from torchbp.callbacks import GradientSNRMonitor, PlateauDetector, PlateauGuard
from torchbp.circuits import Circuit, PauliSum, global_z, hardware_efficient, tfim
from torchbp.errors import CallError, InputError, TorchBPError
from torchbp.layer import QuantumLayer
from torchbp.models import VQE, HybridClassifier
from torchbp.trainability import landscape, light_cone, search, variance_of

ROOMS = ("circuits", "backends", "callbacks", "models", "optim", "hardware", "trainability")

RESULTS = {
    *(name for name in trainability.__all__ if inspect.isclass(getattr(trainability, name))),
    *("Operation", "Parameter", "Attempt", "Calibration", "CalibrationDrift", "Comparison", "Cost", "Measurement"),
    *("QiskitExport", "Usage"),
}
"""What functions return: nobody else builds them."""

PROTOCOLS = {"Backend", "Proposer", "Service"}

OWN = {
    "TorchQuantumBackend",  # which takes none
    "HybridClassifier",  # whose constructors Lightning looks into
    "HybridRegressor",
    "constant",  # called for every gate
    "feature",
    "weight",
}
"""These look at their arguments themselves."""


def public() -> Iterator[tuple[str, Any]]:
    """Every name that can be called, by "room.name"."""
    for room in ROOMS:
        module = import_module(f"torchbp.{room}")
        for name in module.__all__:
            if callable(getattr(module, name)):
                yield f"{room}.{name}", getattr(module, name)
    yield "layer.QuantumLayer", QuantumLayer
    for name in ("from_torchquantum", "from_pennylane", "from_qiskit", "from_deepquantum", "within"):
        yield f"layer.{name}", getattr(QuantumLayer, name)
    yield "layer.accelerate", torchbp.accelerate
    yield "layer.mark_quantum", torchbp.mark_quantum
    yield "probe.probe", import_module("torchbp.gradients.probe").probe
    yield "pretraining.pretrain", import_module("torchbp.trainability.pretraining").pretrain


PUBLIC = dict(public())
TRIED = {name: call for name, call in PUBLIC.items() if name.partition(".")[2] not in RESULTS | PROTOCOLS}


def ansatz() -> Circuit:
    return hardware_efficient(2, 1)


def layer() -> QuantumLayer:
    return QuantumLayer(ansatz(), "Z0")


def operators() -> nn.Module:
    return torchbp.torchquantum.layer.U3CU3Layer0({"n_wires": 2, "n_blocks": 1})


def make(start: torch.Tensor, seed: int) -> Any:
    from torchbp.optim import SPSAProposer

    return SPSAProposer(start, seed=seed)


def executor() -> Any:
    from coins import Coins

    return Coins()


def qiskit_circuit() -> Any:
    return import_module("torchbp.hardware").to_qiskit(ansatz()).circuit


def exported() -> str:
    import_module("torchbp.hardware").export(ansatz(), "a.qpy")
    return "a.qpy"


N, D = {"n_wires": 2}, {"n_wires": 2, "depth": 1}
START = {"start": torch.zeros(2)}
CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    "circuits.Circuit": lambda: N,
    "circuits.PauliSum": lambda: {"terms": "Z0"},
    "circuits.alternating_layered": lambda: D,
    "circuits.amplitude_encoding": lambda: N | {"n_features": 2},
    "circuits.angle_encoding": lambda: N | {"rotation": "ry", "n_features": 2, "scale": 2.0},
    "circuits.constant": lambda: {"value": 0.5},
    "circuits.feature": lambda: {"index": 1},
    "circuits.gate": lambda: {"name": "rx"},
    "circuits.global_z": lambda: N,
    "circuits.h2": dict,
    "circuits.hamiltonian_variational": lambda: D | {"hamiltonian": tfim(2)},
    "circuits.hardware_efficient": lambda: D | {"rotations": ("rx",), "entangler": "line", "gate": "cz"},
    "circuits.heisenberg": lambda: N | {"couplings": (1.0, 1.0, 0.5), "field": 0.5, "periodic": True},
    "circuits.initialize": lambda: {"init": "uniform", "circuit": ansatz(), "generator": torch.Generator()},
    "circuits.iqp_encoding": lambda: D,
    "circuits.local_z": lambda: N,
    "circuits.maxcut": lambda: {"edges": [(0, 1), (1, 2, 0.5)]},
    "circuits.mirrored": lambda: {"circuit": ansatz()},
    "circuits.number_preserving": lambda: D | {"n_particles": 1},
    "circuits.qaoa": lambda: D | {"cost": global_z(2)},
    "circuits.qcnn": lambda: N,
    "circuits.real_amplitudes": lambda: D,
    "circuits.strongly_entangling": lambda: D,
    "circuits.tfim": lambda: N | {"coupling": 0.5, "field": 0.5, "periodic": True},
    "circuits.weight": dict,
    "backends.DensityMatrixBackend": lambda: {"noise": NoiseModel(depolarizing_2q=0.1)},
    "backends.FusedBackend": lambda: {"block_wires": 2, "store_bytes": 1000},
    "backends.NoiseModel": lambda: {
        "depolarizing_1q": 0.1,
        "depolarizing_2q": 0.1,
        "amplitude_damping": 0.1,
        "phase_damping": 0.1,
        "readout": 0.1,
    },
    "backends.PropagationBackend": lambda: {
        "min_abs": 1e-3,
        "max_terms": 1000,
        "max_weight": 5,
        "store_bytes": 1000,
        "noise": NoiseModel(depolarizing_2q=0.1),
    },
    "backends.TorchQuantumBackend": dict,
    "backends.TrajectoryBackend": lambda: {
        "noise": NoiseModel(depolarizing_2q=0.1),
        "n_trajectories": 2,
        "generator": torch.Generator(),
    },
    "backends.resolve_backend": lambda: {"backend": "fused"},
    "backends.resolve_with_noise": lambda: {"backend": "fused", "noise": NoiseModel(depolarizing_2q=0.1)},
    "callbacks.AdaptiveShots": lambda: REMEDY() | {"target_snr": 2.0, "max_shots": 100, "min_shots": 5},
    "callbacks.GradientFreeFallback": lambda: (
        REMEDY()
        | {"method": "cma", "max_evaluations": 10, "max_shots": 10, "resume_when": 2.0, "start_at": 1, "seed": 1}
    ),
    "callbacks.GradientSNRMonitor": lambda: {
        "every_n_steps": 5,
        "n_microbatches": 4,
        "source": "microbatch",
        "loss_fn": lambda model, batch: model(batch).mean(),
        "heatmap": False,
        "per_weight": True,
        "shots_to_resolve": True,
        "groups": lambda model: [],
    },
    "callbacks.InitializationReset": lambda: (
        REMEDY()
        | {"strategy": "uniform", "scope": "all", "max_resets": 1, "candidates": 2, "max_shots": 10}
        | {"warmup": 1, "trial": 2, "seed": 1}
    ),
    "callbacks.LayerwiseTraining": lambda: (
        REMEDY()
        | {"schedule": 2, "grow": 2, "freeze": False, "partitions": 2, "begin": "start", "strategy": "uniform"}
        | {"epochs": 2, "seed": 1}
    ),
    "callbacks.PlateauDetector": lambda: {
        "monitor": GradientSNRMonitor(),
        "patience": 2,
        "window": 9,
        "cooldown": 2,
        "samples": 8,
        "target": 0.1,
        "seed": 1,
    },
    "callbacks.PlateauGuard": lambda: {
        "detector": PlateauDetector(),
        "ladder": [],
        "budget": 100,
        "confidence": 0.5,
        "dry_run": True,
    },
    "callbacks.PlateauStopping": lambda: REMEDY() | {"patience": 3, "confidence": 0.5},
    "callbacks.NaturalGradient": lambda: REMEDY() | {"ill_conditioned": 5.0, "damping": 0.1},
    "callbacks.OnTrial": lambda: REMEDY(),
    "callbacks.Remedy": lambda: REMEDY(),
    "callbacks.ShotBudget": lambda: {"total": 100, "per_epoch": 10, "policy": "degrade", "min_shots": 5},
    "callbacks.ShotLedger": lambda: {"runners": [], "every_n_steps": 5, "detector": PlateauDetector()},
    "models.HybridClassifier": lambda: {"n_features": 2, "n_classes": 2} | MODEL(),
    "models.HybridModule": lambda: {"n_features": 2, "n_outputs": 2} | MODEL(),
    "models.HybridRegressor": lambda: {"n_features": 2, "n_targets": 2} | MODEL(),
    "models.QAOA": lambda: {"graph": [(0, 1)], "depth": 1, "n_nodes": 2} | ENERGY(),
    "models.VQE": lambda: {"hamiltonian": tfim(2), "n_wires": 2, "depth": 1, "reference": False} | ENERGY(),
    "optim.AskTell": lambda: START | {"make": make, "batch": 2, "seed": 1},
    "optim.CMAES": lambda: {"params": list(layer().parameters())},
    "optim.CMAProposer": lambda: START | {"sigma": 0.1, "population": 4, "diagonal": True, "seed": 1},
    "optim.GradientFreeOptimizer": lambda: {"params": list(layer().parameters()), "make": lambda x: make(x, 0)},
    "optim.QNSPSA": lambda: {
        "layer": layer(),
        "lr": 0.1,
        "perturbation": 0.1,
        "damping": 0.1,
        "resamplings": 2,
        "seed": 1,
    },
    "optim.QuantumNaturalGradient": lambda: {"model": layer(), "lr": 0.1, "damping": 0.1, "samples": 3},
    "optim.Rotosolve": lambda: {"params": list(layer().parameters())},
    "optim.RotosolveProposer": lambda: START,
    "optim.SPSA": lambda: {"params": list(layer().parameters())},
    "optim.SPSAProposer": lambda: (
        START | {"first_step": 0.2, "perturbation": 0.1, "pairs": 2, "calibration": 3, "stability": 5.0, "seed": 1}
    ),
    "optim.fubini_study": lambda: {"layer": layer()},
    "optim.propose": lambda: START | {"method": "spsa", "seed": 1, "options": {"pairs": 2}},
    "hardware.Backoff": lambda: {"first": 0.1, "longest": 1.0, "seed": 1, "sleep": lambda seconds: None},
    "hardware.Budget": lambda: {"shots": 10, "quantum_seconds": 1.0, "prices": {}, "scope": "run"},
    "hardware.IBMService": lambda: {"mode": "ibm_torino"},
    "hardware.JobRunner": lambda: {
        "service": executor(),
        "ledger": "ledger.jsonl",
        "run": "r",
        "retries": 1,
        "timeout": 1.0,
        "poll": 1.0,
        "lookups": 1,
        "in_flight": 1,
        "retry_cancelled": True,
    },
    "hardware.Ledger": lambda: {"path": "ledger.jsonl"},
    "hardware.LocalService": lambda: {"executor": executor()},
    "hardware.Mitigation": lambda: {"readout": True, "scales": (1, 3), "degree": 1},
    "hardware.Price": lambda: {"per_second": 1.0, "per_shot": 1.0, "per_circuit": 1.0},
    "hardware.QiskitBackend": lambda: {
        "target": "aer",
        "shots": 10,
        "mitigation": "none",
        "calibration_shots": 10,
        "budget": None,
        "job_tags": ("a",),
        "ledger": "ledger.jsonl",
        "run": "r",
        "optimization_level": 1,
        "qubits": [0, 1],
        "seed": 1,
    },
    "hardware.RehearsalService": lambda: {
        "executor": executor(),
        "folder": "service",
        "rate": 0.1,
        "faults": ["lost"],
        "seed": 1,
        "seconds_per_shot": 0.1,
    },
    "hardware.compare": lambda: {"layer": layer(), "backends": "aer", "shots": 10, "seed": 1},
    "hardware.export": lambda: {"source": ansatz(), "path": "a.qpy", "format": "qpy", "prefix": "p"},
    "hardware.from_qiskit": lambda: {"circuit": qiskit_circuit()},
    "hardware.load": lambda: {"path": exported()},
    "hardware.to_qiskit": lambda: {"source": ansatz(), "observables": "Z0", "prefix": "p"},
    "trainability.curvatures": lambda: {"layer": layer(), "at": torch.zeros(6)},
    "trainability.entanglement_entropy": lambda: DRAWS() | {"k": 1},
    "trainability.entangling_capability": lambda: DRAWS(),
    "trainability.expressibility": lambda: DRAWS() | {"bins": 10},
    "trainability.fit_scaling": lambda: {
        "sizes": [2, 3, 4],
        "estimates": [variance_of(torch.rand(9, 1, generator=torch.Generator().manual_seed(i))) for i in range(3)],
        "variable": "wires",
        "confidence": 0.9,
    },
    "trainability.information_content": lambda: {
        "layer": layer(),
        "walks": 2,
        "steps": 4,
        "step": 0.1,
        "eta": 0.1,
        "init": "uniform",
        "generator": torch.Generator(),
    },
    "trainability.landscape": lambda: {
        "layer": layer(),
        "center": torch.zeros(6),
        "directions": 1,
        "span": 1.0,
        "points": 3,
        "generator": torch.Generator(),
    },
    "trainability.lie_algebra": lambda: {"circuit": ansatz(), "observable": "Z0", "max_dimension": 10},
    "trainability.lie_growth": lambda: {
        "make_circuit": lambda n: hardware_efficient(n, 1),
        "n_wires": [1, 2, 3],
        "observable": global_z,
        "max_dimension": 10,
    },
    "trainability.light_cone": lambda: {"circuit": ansatz(), "observable": "Z0"},
    "trainability.precheck": lambda: {
        "model": ansatz(),
        "observables": "Z0",
        "init": "uniform",
        "steps": 5,
        "budget": 1e4,
        "price_per_shot": 0.1,
        "seconds": 1e-9,
        "seed": 1,
    },
    "trainability.search": lambda: {
        "candidates": {"a": ansatz()},
        "budget": 2,
        "observables": "Z0",
        "learning_rate": 0.1,
        "eta": 2,
        "seed": 1,
        "runner": "local",
    },
    "trainability.training_path": lambda: {"weights": torch.rand(4, 3, generator=torch.Generator().manual_seed(0))},
    "trainability.variance_of": lambda: {"values": torch.rand(9, 1), "noise": torch.zeros(9, 1), "confidence": 0.9},
    "trainability.variance_scan": lambda: {
        "make_circuit": hardware_efficient,
        "n_wires": [2],
        "observable": "Z0",
        "depth": 1,
        "method": "simulate",
        "samples": 8,
        "paths": 100,
        "tolerance": 0.5,
        "init": "uniform",
        "shots": 10,
        "backend": "fused",
        "dtype": torch.float32,
        "confidence": 0.9,
        "seed": 1,
        "file": "scan.npz",
    },
    "layer.QuantumLayer": lambda: {
        "circuit": ansatz(),
        "observables": "Z0",
        "backend": "fused",
        "shots": 10,
        "noise": NoiseModel(depolarizing_2q=0.1),
        "init": "uniform",
        "generator": torch.Generator(),
    },
    "layer.accelerate": lambda: {"model": libraries.pennylane_layer(), "example": torch.zeros(2, 3)},
    "layer.from_deepquantum": lambda: (
        SIMULATED() | {"observables": "Z0", "circuit": libraries.deepquantum_circuit(), "example": torch.zeros(2, 3)}
    ),
    "layer.from_pennylane": lambda: (
        SIMULATED()
        | {"observables": "Z0", "layer": libraries.pennylane_layer().qnode, "example": torch.zeros(2, 3)}
        | {"weights": {"weights": torch.zeros(2, 3)}}
    ),
    "layer.from_qiskit": lambda: (
        SIMULATED()
        | {"observables": "Z0", "network": libraries.qiskit_connector().neural_network, "weights": torch.zeros(6)}
    ),
    "layer.from_torchquantum": lambda: SIMULATED() | {"observables": "Z0", "module": operators(), "n_wires": 2},
    "layer.mark_quantum": lambda: {"module": nn.Linear(2, 2), "layers": {"a": "weight[0]"}, "n_wires": 2, "shots": 10},
    "layer.within": lambda: SIMULATED() | {"model": operators()},
    "probe.probe": lambda: {
        "model": layer(),
        "batch": torch.zeros(4, 0),
        "loss_fn": lambda model, batch: model(batch).mean(),
        "source": "microbatch",
        "n_microbatches": 2,
    },
    "pretraining.pretrain": lambda: {
        "model": layer(),
        "loss_fn": None,
        "steps": 1,
        "learning_rate": 0.1,
        "tolerance": 0.5,
        "backend": PropagationBackend(),
        "optimizer": torch.optim.SGD,
        "progress": lambda step, loss: None,
    },
}


def REMEDY() -> dict[str, Any]:
    return {"detector": PlateauDetector(), "answers": ["converged"], "dry_run": True, "name": "n"}


def MODEL() -> dict[str, Any]:
    return {"n_wires": 2, "depth": 1, "encoder": nn.Identity(), "quantum": layer(), "head": nn.Identity()} | {
        "learning_rate": 0.1
    }


def ENERGY() -> dict[str, Any]:
    return {"shots": 10, "noise": NoiseModel(depolarizing_2q=0.1), "backend": "fused", "init": "uniform"} | {
        "generator": torch.Generator(),
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "steps_per_epoch": 3,
    }


def SIMULATED() -> dict[str, Any]:
    return {"backend": "fused", "shots": 10, "noise": NoiseModel(depolarizing_2q=0.1), "generator": torch.Generator()}


def DRAWS() -> dict[str, Any]:
    return {"circuit": ansatz(), "samples": 8, "init": "uniform", "backend": "fused", "generator": torch.Generator()}


WRONG = {
    "object": object(),
    "NaN": math.nan,
    "negative": -1,
    "zero": 0,
    "huge": 10**20,
    "None": None,
    "string": "3",
    "list": ["no such thing"],
}

FITS = {
    # What a word may well be, of the things above. None is looked up in the signature.
    "zero": """n_features index n_particles start_at warmup retries first longest rate confidence seed stability
        per_second per_shot per_circuit seconds_per_shot budget scale value coupling field readout depolarizing_1q
        depolarizing_2q amplitude_damping phase_damping price_per_shot shots quantum_seconds store_bytes target degree
        seconds_per_job optimization_level qubits noise min_abs""",
    "negative": "scale value coupling field target",
    "huge": """index scale value coupling field learning_rate sigma first_step perturbation stability timeout poll first
        longest per_second per_shot per_circuit seconds_per_shot budget price_per_shot quantum_seconds target span
        seconds target_snr resume_when lr damping ill_conditioned step shots min_abs tolerance""",
    "string": "name run path file folder ledger prefix study storage job_tags",
    "list": "job_tags",
    "None": "name max_evaluations resume_when",
    "object": "",
    "NaN": "",
}
"""Wrong in general, right for these words."""


def cases() -> list[tuple[str, str, str]]:
    found = []
    for name in TRIED:
        if name in CALLS and name != "hardware.IBMService":
            found += [(name, word, kind) for word in CALLS[name]() for kind in WRONG]
            found.append((name, "no_such_argument", "object"))
    return found


def fits(call: Any, word: str, kind: str) -> bool:
    if kind == "None":
        parameter = inspect.signature(call).parameters.get(word)
        nothing = parameter is None or parameter.default is None or "None" in str(parameter.annotation)
        return nothing or word in FITS[kind].split()
    return word in FITS[kind].split()


def outcome(name: str, word: str, kind: str) -> str:
    """ "clear", "meant", "silent", or what was raised."""
    call = TRIED[name]
    try:
        if name in ("models.HybridModule", "callbacks.OnTrial", "callbacks.Remedy"):  # which are abstract
            call = type("Own", (call,), {"loss": None, "make_metrics": lambda self: {}})
        call(**{**CALLS[name](), word: WRONG[kind]})
    except TorchBPError:
        return "clear"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "meant" if fits(TRIED[name], word, kind) else "silent"


def test_every_public_callable_has_a_place() -> None:
    """It checks its arguments by the table, or is in one of the lists above; and there is a call to try it by."""
    unchecked = {
        name for name, call in TRIED.items() if not hasattr(call.__init__ if inspect.isclass(call) else call, "checks")
    }
    assert {name.partition(".")[2] for name in unchecked} == OWN
    assert set(CALLS) == set(TRIED)
    assert {name.partition(".")[2] for name in PUBLIC} >= RESULTS | PROTOCOLS


@pytest.mark.parametrize(
    "name", sorted(set(CALLS) - {"hardware.IBMService", "models.HybridModule", "callbacks.OnTrial", "callbacks.Remedy"})
)
def test_the_calls_are_right(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the battery changes one argument of runs as it is."""
    monkeypatch.chdir(tmp_path)
    TRIED[name](**CALLS[name]())


@pytest.mark.parametrize("room", [*ROOMS, "layer", "probe", "pretraining"])
@pytest.mark.filterwarnings("ignore")
def test_a_battery_of_wrong_arguments(room: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is taken in silence; 98 of 100 are refused in torchbp's own words."""
    monkeypatch.chdir(tmp_path)
    found = {case: outcome(*case) for case in cases() if case[0].startswith(room + ".")}
    silent = [case for case, what in found.items() if what == "silent"]
    foreign = {case: what for case, what in found.items() if what not in ("clear", "meant", "silent")}
    assert not silent
    assert len(foreign) <= 0.02 * len(found), foreign


def test_what_is_plainly_meant_is_taken() -> None:
    """Oracle: what the longer way of writing it gives."""
    monitor, circuit = GradientSNRMonitor(), ansatz()
    assert PlateauGuard(monitor).detector.monitor is monitor  # type: ignore[arg-type]
    assert PlateauGuard(budget=5_000_000).budget.total == 5_000_000  # type: ignore[arg-type, union-attr]
    assert isinstance(HybridClassifier(2, 2, n_wires=2, quantum=circuit).quantum, QuantumLayer)
    assert isinstance(VQE(tfim(2), optimizer="adam").configure_optimizers(), torch.optim.Adam)
    assert light_cone(circuit, "Z0") == light_cone(circuit, PauliSum("Z0"))
    assert {s.name for s in search([circuit, circuit], 0).ranking} == {"candidate 0", "candidate 1"}
    assert landscape(circuit, points=3, directions=1).values.shape == (3,)
    assert QuantumLayer(circuit, {"Z0": -1.0, "X0": 0.5}).observables == (PauliSum({"Z0": -1.0, "X0": 0.5}),)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: GradientSNRMonitor(every_n_step=3), r"no argument 'every_n_step'. Did you mean 'every_n_steps'\?"),
        (lambda: HybridClassifier(2, 2, wires=4), r"HybridModule has no argument 'wires'. Did you mean 'n_wires'\?"),
        (lambda: hardware_efficient(2), r"hardware_efficient: missing a required argument: 'depth'"),
        (lambda: PlateauDetector(GradientSNRMonitor), r"got the class itself: write GradientSNRMonitor\(...\)"),
        (lambda: PlateauDetector(thresholds=0.1), r"thresholds is a Thresholds, got 0.1"),
        (lambda: PlateauDetector(patience=math.nan), r"patience is a whole number of at least 1, got nan"),
        (lambda: PlateauGuard(dry_run="yes"), r"dry_run is True or False, got 'yes'"),
        (lambda: QuantumLayer(ansatz(), noise=0.01), r"got 0.01: write NoiseModel\(depolarizing_2q=0.01\)"),
        (lambda: QuantumLayer(ansatz(), generator=42), r"write torch.Generator\(\).manual_seed\(42\)"),
        (lambda: QuantumLayer(ansatz(), shots=10**20), r"shots is at most 9,007,199,254,740,992, got 1000000"),
        (lambda: QuantumLayer(ansatz(), init=lambda c: c), r"The initializer '<lambda>': too many positional"),
        (lambda: VQE(tfim(2), optimizer="adamm"), r"Unknown optimizer 'adamm'. Did you mean"),
        (lambda: HybridClassifier(2.5, 2), r"n_features is a whole number of at least 1, got 2.5"),
        (lambda: search(3, 0), r"A search needs candidates: a dict of circuits"),
        (lambda: search({"a": 3}, 0), r"candidates\['a'\] is a Circuit or a function that makes a model, got int"),
        (lambda: landscape("circuit"), r"layer is a QuantumLayer, got 'circuit': write QuantumLayer\(circuit, obs"),
        (lambda: light_cone(None, "Z0"), r"circuit is a Circuit, got None: write"),
        (lambda: torchbp.accelerate("model"), r"model is a Module, got 'model'"),
        (lambda: torchbp.mark_quantum(nn.Linear(1, 1), {"a": 3}), r"layers\['a'\] is a string, got 3"),
        (lambda: QuantumLayer.within(operators(), backend="fuse"), r"Did you mean 'fused'"),
        (lambda: QuantumLayer.from_pennylane(libraries.pennylane_layer(), example=3), r"example is a Tensor, got 3"),
        (
            lambda: QuantumLayer.from_qiskit(libraries.qiskit_connector(), shot=3),
            r"no argument 'shot'. Did you mean 'shots'",
        ),
    ],
)
def test_messages(mistake: Callable[[], Any], message: str) -> None:
    """Each says what was given and what to write."""
    with pytest.raises(TorchBPError, match=message):
        mistake()


def test_a_checked_function() -> None:
    """Oracle: by hand; values are converted, defaults pass, the signature stays readable."""

    @checked(width=whole(1, 9), how=either(real(0), each(a(str))))
    def draw(width: int, how: Any = None, *, seed: int = -5) -> tuple[int, Any, int]:
        return width, how, seed

    assert draw(3) == (3, None, -5)
    assert draw(3, how="a", seed=2) == (3, ("a",), 2)
    assert draw(width=3, how=1) == (3, 1.0, -5)
    assert str(inspect.signature(draw)).startswith("(width: 'int', how: 'Any' = None, *, seed")
    with pytest.raises(InputError, match="width is at most 9, got 10"):
        draw(10)
    with pytest.raises(CallError, match=r"draw has no argument 'sed'\. Did you mean 'seed'"):
        draw(1, sed=3)  # type: ignore[call-arg]


def test_no_argument_is_forgotten() -> None:
    """A function with a word that nobody knows can't be defined, nor one that is to check what it has not."""
    with pytest.raises(TypeError, match=r"draw\(colour=\) has no check: give one, or add the word to the table"):

        @checked()
        def draw(colour: int) -> None: ...

    with pytest.raises(TypeError, match="is to check colour, and has no such argument"):
        checked(colour=whole(1))(lambda: None)
    assert "seed" in WORDS
