"""Training: states, steps, the loop, checkpoints."""
