"""The last module that the fork server of ``worker_context`` imports: it excludes all existing objects from garbage collection.

Garbage collection writes to every object; without it, the workers keep sharing the memory of these objects.
"""
import gc

gc.freeze()
gc.enable()
