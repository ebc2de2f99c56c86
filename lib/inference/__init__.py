"""Inference: loads a checkpoint, predicts classes and probabilities of pictures, and exports the network."""
from lib.inference.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor"]
