"""A trained network in use: from a checkpoint and pictures to classes and probabilities."""
from lib.inference.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor"]
