"""Survey imaging on one pixel grid: the store, the readers of FITS files, and the ingest."""
