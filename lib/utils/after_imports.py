"""The last module that the server of ``worker_context`` imports. What is there by then is garbage in none of its workers.

It is frozen, so that they share the memory until they end: looking for garbage writes to every object.
"""
import gc

gc.freeze()
gc.enable()
