"""The network: backbone, pooling, classifier."""
from lib.net.network import Mix, Network, Output, mix_locations

__all__ = ["Mix", "Network", "Output", "mix_locations"]
