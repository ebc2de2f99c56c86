"""The last module that the server of ``worker_context`` imports. What it has imported is garbage in none of its workers, and frozen,
so that they share the memory until they end: looking for garbage would write to every object."""
import gc

gc.freeze()
gc.enable()
