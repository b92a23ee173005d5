"""Tables of sources and of spectroscopic redshifts, as users bring them."""
