"""Symbolic engine: names the closed-form concept a neuron encodes from the direction of its gradient."""
