"""Figures of a neuron's page, drawn by matplotlib and returned as inline SVG."""
