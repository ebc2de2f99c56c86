"""The network: backbone, pooling, classifier."""
from lib.net.network import Mix, Network, Output

__all__ = ["Mix", "Network", "Output"]
