"""The command line: its verbs, one module a kind.

Owns how the verbs are called and how their progress and errors are shown. Does not own what
they do: each calls the function of the same name. Nothing heavy is imported before a verb runs.
"""

# Importing a module of verbs makes them known, in the order of ``--help``.
from survey_classifier.cli import fields, mosaics, runs, training, evaluation, images  # noqa: F401, I001
from survey_classifier.cli import explaining, catalogs, evidence, spectra, colors  # noqa: F401
from survey_classifier.cli.terminal import app, main

__all__ = ["app", "main"]
