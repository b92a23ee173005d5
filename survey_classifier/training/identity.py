"""What a training is of: digests of the recipe and of all that its result depends on.

Owns which files these are. Does not own the digests of a table (``sources.digest``), a mosaic or
thumbnails.
"""

import hashlib

from survey_classifier.images.archive import open_archive
from survey_classifier.model.card import DataDigest
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.sources.digest import table_digest
from survey_classifier.sources.formats import read_table
from survey_classifier.training.recipes import DataSettings, Recipe
from survey_classifier.training.thumbnails import thumbnails_digest

__all__ = ["data_digests", "identity"]


def identity(recipe: Recipe, start: tuple[DataDigest, ...]) -> str:
    """Return a digest of the recipe, its data, and what its networks start from.

    It is known before any stamp is cut.

    Parameters
    ----------
    recipe
        The recipe.
    start
        The checkpoint to start from, if there is one.

    Raises
    ------
    SourcesError, MosaicError
        If a table, thumbnails or a mosaic can't be read.
    """
    known = [recipe.model_dump_json(exclude={"name", "out", "extends"})]
    for data in recipe.data:
        known += data_digests(recipe, data).values()
    known += [digest.sha256 for digest in start]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()


def data_digests(recipe: Recipe, data: DataSettings) -> dict[str, str]:
    """Return the digests of a table and of the pixels of its objects, by what they are called.

    Parameters
    ----------
    recipe
        The recipe.
    data
        One of its ``[[data]]``.

    Raises
    ------
    SourcesError, MosaicError
        If they can't be read.
    """
    table = recipe.path(data.table)
    digests = {data.table: table_digest(table)}
    if data.thumbnails is None or data.columns.thumb is None:
        return digests | {data.store: Mosaic.open(recipe.path(data.store)).digest}
    names = read_table(table, [data.columns.thumb]).text(data.columns.thumb)
    path = recipe.path(data.thumbnails.path)
    with open_archive(path) as archive:
        there = [name for name in names if archive.holds(name)]
    # Two tables may have their images in one place.
    images = f"{data.thumbnails.path} of {data.table}"
    return digests | {images: thumbnails_digest(path, there)}
