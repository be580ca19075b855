"""Training: the config, the run folder, and the loop in PyTorch. Reading a config or a run needs no PyTorch."""
