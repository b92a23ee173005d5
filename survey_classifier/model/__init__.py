"""Networks, checkpoints with their model cards, and the scorer."""
