"""Ranks, devices and precision."""
