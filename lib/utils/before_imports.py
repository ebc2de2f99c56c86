"""The first module that the fork server of ``worker_context`` imports: it turns garbage collection off during the imports."""
import gc

gc.disable()
