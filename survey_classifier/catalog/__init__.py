"""The catalog's columns, its parts on disk, and the published file."""
