"""Check on a real GPU, or on the simulated one, what the project believes about drivers. Needs nothing but Python."""
