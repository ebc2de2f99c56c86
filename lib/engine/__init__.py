"""The training step, the epoch, evaluation, CUDA graph capture, progress lines and interruption."""
