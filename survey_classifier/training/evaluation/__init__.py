"""Scores beside the truth: how good they are, and beside what."""
