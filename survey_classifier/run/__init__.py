"""One run: its file, its plan, the tile kernel, the drivers, the report."""
