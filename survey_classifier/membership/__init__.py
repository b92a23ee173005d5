"""Evidence beside the image: redshift classes, colors, flags, priors and posteriors."""
