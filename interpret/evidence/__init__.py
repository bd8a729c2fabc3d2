"""What the roof finds out about one neuron: both engines run, checked against each other, and judged."""
