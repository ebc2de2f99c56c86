"""The step, the epoch, evaluation, graph capture, progress and interruption."""
