"""What users import: a name that is gone or new shows up here."""

from importlib import import_module

import pytest

NAMES = {
    "torchbp": """
        __version__ accelerate Circuit feature mark_quantum PauliSum pretrain probe QuantumLayer TorchBPError
        torchquantum weight
    """,
    "torchbp.backends": """
        Backend BACKENDS DensityMatrixBackend FusedBackend NoiseModel PropagationBackend resolve_backend
        resolve_with_noise TorchQuantumBackend TrajectoryBackend
    """,
    "torchbp.callbacks": """
        AdaptiveShots GradientFreeFallback GradientSNRMonitor InitializationReset LayerwiseTraining
        NaturalGradient OnTrial PlateauDetector PlateauGuard PlateauStopping Remedy ShotBudget ShotLedger
    """,
    "torchbp.circuits": """
        alternating_layered amplitude_encoding angle_encoding Circuit constant feature gate GATES global_z h2
        hamiltonian_variational hardware_efficient heisenberg initialize INITIALIZERS iqp_encoding local_z
        maxcut mirrored number_preserving Operation Parameter PauliSum qaoa qcnn real_amplitudes
        strongly_entangling tfim weight
    """,
    "torchbp.hardware": """
        Attempt Backoff Budget Calibration CalibrationDrift compare Comparison Cost export from_qiskit
        IBMService JobRunner Ledger load LocalService Measurement Mitigation MITIGATIONS Price QiskitBackend
        QiskitExport RehearsalService Service to_qiskit Usage
    """,
    "torchbp.models": """
        HybridClassifier HybridModule HybridRegressor QAOA VQE
    """,
    "torchbp.optim": """
        AskTell CMAES CMAProposer fubini_study GradientFreeOptimizer propose Proposer PROPOSERS QNSPSA
        QuantumNaturalGradient Rotosolve RotosolveProposer SPSA SPSAProposer
    """,
    "torchbp.trainability": """
        Curvatures curvatures entanglement_entropy EntanglementEntropy entangling_capability
        EntanglingCapability Expressibility expressibility fit_scaling information_content InformationContent
        Landscape landscape lie_algebra lie_growth LieAlgebra LieGrowth light_cone LightCone Path Precheck
        precheck Progress ScalingFit ScanRow Search search Standing training_path variance_of variance_scan
        VarianceEstimate VarianceScan
    """,
}


@pytest.mark.parametrize("package", NAMES)
def test_public_names(package: str) -> None:
    """Each package exports these names, and each of them is there."""
    module = import_module(package)
    assert set(module.__all__) == set(NAMES[package].split())
    assert all(getattr(module, name) is not None for name in module.__all__)
