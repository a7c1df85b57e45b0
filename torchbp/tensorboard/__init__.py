"""The page "Barren plateaus" of TensorBoard, and the format of the data behind it.

TensorBoard imports `torchbp.tensorboard.loader` whenever it starts, by the entry point in `pyproject.toml`. Nothing in
this package imports torch or Lightning: logs can be read where neither is installed.
"""
