"""How the probe reads a module: batches, places, forward passes, derivatives, and the model left as it was found."""
