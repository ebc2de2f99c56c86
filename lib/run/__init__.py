"""The directory of a run: its files, lock, history and environment; checkpoints, and all of resuming."""
