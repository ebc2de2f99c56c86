"""The last module that the server of ``worker_context`` imports: it freezes all objects that exist by then.

So the workers share their memory until they end; garbage collection would write to every object.
"""
import gc

gc.freeze()
gc.enable()
