"""`torchbp train`: Lightning's own command line, with torchbp's models and callbacks in reach."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

from torchbp.errors import MissingDependencyError

DESCRIPTION = """\
LightningCLI: models and data by class path, everything else from options or YAML. `torchbp train fit --help` shows all
options. torchbp.models.HybridClassifier and the callbacks of torchbp.callbacks go by these names."""
EXAMPLE = "torchbp train fit --config run.yaml"


def run_words(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(f"usage: torchbp train {{fit,validate,test,predict}} [OPTIONS]\n\n{DESCRIPTION}\n\nexample:\n  {EXAMPLE}")
        return 0 if words else 2
    if find_spec("jsonargparse") is None:
        raise MissingDependencyError("`torchbp train` needs jsonargparse. Run: pip install 'torchbp[cli]'")
    from lightning.pytorch.cli import LightningCLI

    import torchbp.callbacks
    import torchbp.models  # noqa: F401  # registers the names for short class paths

    # The words go in as an argument, which Lightning warns of: sys.argv is what it starts the other ranks from.
    warnings.filterwarnings("ignore", "LightningCLI's args parameter is intended to run from within Python")
    LightningCLI(
        args=words,
        parser_kwargs={"prog": "torchbp train"},
        save_config_kwargs={"overwrite": True},
        seed_everything_default=0,
    )
    return 0
