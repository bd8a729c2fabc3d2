"""Figures of a neuron's page, drawn as inline SVG."""
