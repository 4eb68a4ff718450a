"""Evaluation of taggers: metrics, rejection, calibration, stability, predictions."""
