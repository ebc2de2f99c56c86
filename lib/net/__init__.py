"""The network (backbone, pooling, classifier) and its class activation maps."""
from lib.net.cam import class_activation_maps, foreground, scale_maps
from lib.net.network import Graft, Mix, Network, Output, mix_locations

__all__ = ["Graft", "Mix", "Network", "Output", "class_activation_maps", "foreground", "mix_locations", "scale_maps"]
