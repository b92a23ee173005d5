"""The rounds of a watch: what is made of the files that have arrived by then.

Owns what each round does, and what has to wait or is left undone. Does not own when a file counts
(``mosaic.arrivals``), the ingest, the work on tiles nor when to stop (``watch``).

A round ingests the stores whose files are others than before, plans the run on all stores that
have the checkpoint's bands, works on the tiles of which pixels or sources changed, and publishes.
The last round is the run that would have been with all files from the start: every shard is made
again when its images change, every tile when its shards do. Only what each round needs is waited
for; sources that no store holds yet are published as such.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from survey_classifier.errors import MosaicError, SourcesError
from survey_classifier.mosaic.arrivals import Arrivals, Version, has_fixed_grid
from survey_classifier.mosaic.ingest import carry_out, faults
from survey_classifier.mosaic.inputs import StoreInputs, grouped_inputs, stores_there
from survey_classifier.mosaic.layout import IngestPlan
from survey_classifier.mosaic.pixels import Described
from survey_classifier.mosaic.place import Place
from survey_classifier.mosaic.planning import plan_store
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.mosaic.writer import MosaicWriter
from survey_classifier.run.inputs import Inputs
from survey_classifier.run.listener import Listener
from survey_classifier.run.plan import plan
from survey_classifier.run.receipt import RunReceipt
from survey_classifier.run.work import Workers, work_off
from survey_classifier.words import counted

__all__ = ["Rounds"]

NOWHERE = ""
"""Stands for a store where a line is of all of them."""
N_NAMED = 3
"""Mosaics that a line names."""
Files = tuple[tuple[Path, Version], ...]
"""The images of a store, each with its version."""


class Rounds:
    """What has come of the files so far.

    Parameters
    ----------
    inputs
        What the run reads besides its mosaics.
    workers
        Who works on tiles.
    listener
        Told of the progress.
    """

    def __init__(self, inputs: Inputs, workers: Workers, listener: Listener) -> None:
        self.arrivals = Arrivals(inputs.config.mosaic, inputs.config.folder, listener.say)
        self.receipt: RunReceipt | None = None
        self.has_written = False
        """Whether a round has ingested or classified anything."""
        self._inputs, self._workers, self._listener = inputs, workers, listener
        self._has_begun = False
        self._seen: dict[str, Files] = {}
        """What each store was last looked at with."""
        self._mosaics: dict[str, Mosaic] = {}
        self._lacking: dict[str, tuple[str, ...]] = {}
        """The bands that each store waits for."""
        self._wrong: dict[str, str] = {}
        """Why each store cannot be made as it is."""
        self._said: set[str] = set()
        self._sound: set[str] = set()
        self._damaged: set[Path] = set()
        """Images that passed for sound, until all of their pixels were read."""
        self._classified: dict[str, str] = {}
        """Digests of the mosaics that were last classified on."""

    @property
    def undone(self) -> tuple[str, ...]:
        """What is left undone, a line each."""
        nothing = () if self._mosaics or self._lacking else ("no image has arrived",)
        refused = self.arrivals.refused.values()
        return (*nothing, *refused, *self._wrong.values(), *self._waiting())

    def go(self) -> bool:
        """Do all that the files which have arrived allow; return whether there was any work."""
        if not self._has_begun:
            self._has_begun = True
            self._keep_made()
        plans = self._plans()
        try:
            made = carry_out(plans, self._progress, checked=True) if plans else []
        except MosaicError as error:
            self._set_back(plans, error)
            return True
        self.has_written |= any(item.n_written for item in made)
        self._mosaics |= {todo.store: item.mosaic for todo, item in zip(plans, made, strict=True)}
        worked = self._classify() or bool(plans)
        for line in {*self._wrong.values(), *self._waiting()} - self._said:
            self._said.add(line)
            self._listener.say(line)
        return worked

    def _set_back(self, plans: Sequence[IngestPlan], error: MosaicError) -> None:
        """Take back what a failed ingest has begun, without the image that it failed on.

        Raises
        ------
        MosaicError
            If it was no image that it failed on.
        """
        images = [image.exposure for plan in plans for image in plan.images]
        if all(self.arrivals.is_as_seen(file) for image in images for file in image.files):
            named = {len(str(file)): file for image in images for file in image.files
                     if str(file) in str(error)}  # fmt: skip
            if not named:
                raise error
            # A name may be the beginning of another.
            bad = {image.path for image in images if named[max(named)] in image.files}
            for path in bad:
                self.arrivals.refuse(path, str(error))
            self._damaged |= bad
        else:
            self._listener.say(f"{error} (a file has changed meanwhile, so it is tried again)")
        for todo in plans:
            self._seen.pop(todo.store, None)
            self._mosaics.pop(todo.store, None)

    def _keep_made(self) -> None:
        """Open the stores that an earlier watch has made of images that are gone by now."""
        config = self._inputs.config
        for store in stores_there(config.mosaic, config.folder):
            made_of = {file for of in MosaicWriter.files_of(store).values() for file in of}
            if made_of & (self.arrivals.coming | {path.name for path in self.arrivals.refused}):
                continue
            try:
                mosaic = Mosaic.open(store)
            except MosaicError as error:
                self._wrong[store] = str(error)
                continue
            self._mosaics[store] = mosaic
            if self._note(store, self._bands_short(mosaic)):
                self._inputs.require(mosaic)

    def _progress(self, done: int, total: int) -> None:
        self._listener.progress("ingest", done, total)

    def _plans(self) -> list[IngestPlan]:
        """Return the ingests that are to be done, of images that are sound."""
        config = self._inputs.config
        while True:
            self._damaged &= self.arrivals.refused.keys()
            # A store that was begun with such an image goes on without it, until it is mended.
            lost = tuple(path.name for path in self._damaged)
            there = grouped_inputs(config.mosaic, config.folder, self.arrivals.arrived)
            groups = [replace(group, superseded=group.superseded + lost) for group in there]
            files = {group.store: self._files(group) for group in groups}
            todo = [group for group in groups
                    if files[group.store] != self._seen.get(group.store, ())
                    and self._may_begin(group)]  # fmt: skip
            plans = [found for group in todo if (found := self._plan(group)) is not None]
            bad = faults(plans, self._sound)
            if not bad:
                self._seen |= {group.store: files[group.store] for group in todo}
                return plans
            for path, reason in bad.items():
                self.arrivals.refuse(path, reason)

    def _files(self, group: StoreInputs) -> Files:
        return tuple((path, self.arrivals.arrived[path]) for _, path in group.files)

    def _may_begin(self, group: StoreInputs) -> bool:
        """Return whether a store may be looked at, or has to wait for more of its files."""
        settings = self._inputs.config.mosaic
        if not has_fixed_grid(settings):
            there = {entry.band for entry, _ in group.files}
            if not self._note(group.store, {entry.band for entry in settings.inputs} - there):
                return False
        if not Place.of(group.store).exists():
            return True
        made_of = {file for files in MosaicWriter.files_of(group.store).values() for file in files}
        return not made_of & self.arrivals.coming

    def _plan(self, group: StoreInputs) -> IngestPlan | None:
        """Return what is to be done for a store, None if that is nothing."""
        try:
            found = plan_store(self._inputs.config.mosaic, group, partial=True)
        except MosaicError as error:
            self._wrong[group.store] = str(error)
            return None
        self._wrong.pop(group.store, None)
        if self._note(group.store, self._bands_short(found)):
            self._inputs.require(found)
        if isinstance(found, IngestPlan):
            return found
        self._mosaics[group.store] = found
        return None

    def _bands_short(self, mosaic: Described) -> set[str]:
        """Return which bands of the checkpoint a mosaic has not."""
        return set(self._inputs.card.bands) - {band.name for band in mosaic.bands}

    def _note(self, store: str, short: Iterable[str]) -> bool:
        """Keep in mind which bands a store waits for; return whether there are none."""
        self._lacking[store] = tuple(sorted(short))
        return not self._lacking[store]

    def _waiting(self) -> Iterator[str]:
        """Yield which stores wait for which bands, in lines."""
        stores: dict[tuple[str, ...], list[str]] = {}
        for store, bands in sorted(self._lacking.items()):
            stores.setdefault(bands, []).append(Place.of(store).name)
        for bands, names in stores.items():
            if bands:
                yield f"{_some(names)} for images of {', '.join(bands)}"

    def _classify(self) -> bool:
        """Classify on the mosaics that have all bands, unless these are as they were."""
        ready = [mosaic for mosaic in self._mosaics.values() if not self._bands_short(mosaic)]
        digests = {str(mosaic.place): mosaic.digest for mosaic in ready}
        if digests == self._classified:
            return False
        self._classified = digests
        try:
            laid_out = plan(self._inputs.config, self._inputs, ready)
        except SourcesError as error:
            # They may lie on what is still to come.
            self._wrong[NOWHERE] = str(error)
            return True
        self._wrong.pop(NOWHERE, None)
        self.receipt = work_off(laid_out, self._workers, self._listener)
        self.has_written = True
        self._listener.say(f"{counted(len(ready), 'mosaic')} so far: {self.receipt.line}")
        return True


def _some(names: Sequence[str]) -> str:
    """Say which mosaics wait."""
    if len(names) == 1:
        return f"{names[0]} waits"
    more = ", ..." if len(names) > N_NAMED else ""
    return f"{', '.join(names[:N_NAMED])}{more} ({len(names)} mosaics) wait"
