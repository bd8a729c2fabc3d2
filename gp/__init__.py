"""GP engine: distils a submodule into a Gaussian process and explains outputs by similarity to training examples."""
