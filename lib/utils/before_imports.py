"""The first module that the server of ``worker_context`` imports: no garbage is looked for while it imports the others."""
import gc

gc.disable()
