"""The first module that the server of ``worker_context`` imports: garbage collection is off while it imports the others."""
import gc

gc.disable()
