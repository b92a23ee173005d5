"""Training networks on labeled stamps."""
