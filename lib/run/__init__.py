"""The directory of a run (files, lock, history, environment), checkpoints, and resuming from them."""
