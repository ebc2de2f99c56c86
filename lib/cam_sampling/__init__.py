"""CAM-based sampling: new images of the rarer classes, made from the regions that a trained network recognises as the object.

Zhang et al., Bag of Tricks for Long-Tailed Visual Recognition with Deep Convolutional Neural Networks, AAAI 2021.
"""
from lib.cam_sampling.generation import Generation, Made
from lib.cam_sampling.output import SetFiles, Writer, file_name
from lib.cam_sampling.plan import Plan, make_plan, num_added
from lib.cam_sampling.sheet import Sheet

__all__ = ["Generation", "Made", "Plan", "SetFiles", "Sheet", "Writer", "file_name", "make_plan", "num_added"]
