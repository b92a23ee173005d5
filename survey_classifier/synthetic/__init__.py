"""A simulated cluster field, with its truth."""
