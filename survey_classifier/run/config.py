"""The run file: one TOML file that says everything about a run.

Owns the keys of a run file and their defaults, and where a run's output lies. Does not own the
``[mosaic]`` table (``mosaic.mosaic_settings``), those of the evidence (``evidence_settings``), nor
what the settings mean to the rooms that use them.
Paths in the file are relative to it.
"""

import re
from pathlib import Path
from typing import Annotated, Any

import tomli_w
from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, model_validator

from survey_classifier.errors import ConfigError
from survey_classifier.model.header import SUFFIX
from survey_classifier.mosaic.inputs import WORD, place_text
from survey_classifier.mosaic.mosaic_settings import MosaicSettings
from survey_classifier.mosaic.store import CHUNK_PX
from survey_classifier.run.evidence_settings import (
    BrightStarsSettings,
    MembershipSettings,
    RedshiftsSettings,
    SourcesSettings,
)
from survey_classifier.settings import Settings, expand_path, read_settings
from survey_classifier.sources.detection import DetectSettings

__all__ = [
    "SCHEDULER",
    "ClusterSettings",
    "ModelSettings",
    "RunConfig",
    "TruthSettings",
    "as_run",
    "read_run",
]

SCHEDULER = r"\w+://\S+|[^/\s]+:\d+"
"""Pattern of a scheduler's address."""
CLUSTER_KIND = rf"serial|local|cuda|{SCHEDULER}"
CLUSTER_WORDS = "serial, local, cuda, or the address of a scheduler such as tcp://host:8786"
DASHBOARD = "127.0.0.1:8787"
ADDRESS = r"[^/\s]*:\d{1,5}"


def _like(pattern: str, words: str) -> AfterValidator:
    """Return a check of a text whose message says in words what is allowed."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{text!r} is none of what it may be: {words}")
        return text

    return AfterValidator(check)


def _as_list(tables: object) -> object:
    """Return one table, ``[redshifts]``, as a list of one, ``[[redshifts]]``."""
    return [tables] if isinstance(tables, dict) else tables


class ModelSettings(Settings):
    """The ``[model]`` table."""

    checkpoint: str
    """Name of a shipped checkpoint, or a path."""
    device: Annotated[str, _like(r"auto|cpu|cuda(:\d+)?", "auto, cpu, cuda or cuda:1")] = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:1``."""
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 256
    """Stamps that are scored at once."""


class TilesSettings(Settings):
    """The ``[tiles]`` table."""

    size_px: Annotated[int, Field(ge=CHUNK_PX)] = 2048
    """Side of a tile, a multiple of the mosaic's chunk."""

    @model_validator(mode="after")
    def _whole_chunks(self) -> "TilesSettings":
        nearest = max(1, round(self.size_px / CHUNK_PX)) * CHUNK_PX
        if self.size_px != nearest:
            raise ValueError(
                f"size_px = {self.size_px} is no multiple of the mosaic's chunk of {CHUNK_PX} px; "
                f"choose {nearest}"
            )
        return self


class ClusterSettings(Settings):
    """The ``[cluster]`` table: where the tiles are worked on."""

    kind: Annotated[str, _like(CLUSTER_KIND, CLUSTER_WORDS)] = "local"
    """``serial``, ``local``, ``cuda``, or the address of a scheduler such as tcp://host:8786."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads of a local worker; by default one a core."""
    dashboard: Annotated[str, _like(ADDRESS, "an address such as 127.0.0.1:8787")] = DASHBOARD
    """Where the dashboard listens: on this machine only, unless told otherwise."""


class TruthSettings(Settings):
    """The ``[truth]`` table: known classes, for the report only; no score ever sees them."""

    path: str
    id: str = "source_id"
    """Column of the source identifier."""
    label: str = "label"
    """Column of the class."""
    member: str = "member"
    """The value of the class column that means member; an empty one and -1 mean that it is unknown,
    others nonmember."""
    simulated: bool = False
    """Whether this is a simulation's truth: the report then says so beside every figure."""


class RunConfig(Settings):
    """A run file."""

    name: Annotated[
        str,
        _like(r"[A-Za-z0-9][A-Za-z0-9._-]*", "letters, digits, '.', '_' and '-', as in my-field"),
    ]
    """Name of the run and of its catalog."""
    out: str
    """Folder of the output."""
    mosaic: MosaicSettings
    sources: SourcesSettings
    redshifts: Annotated[tuple[RedshiftsSettings, ...], BeforeValidator(_as_list)] = ()
    bright_stars: BrightStarsSettings | None = None
    detect: DetectSettings = DetectSettings()
    model: ModelSettings
    membership: MembershipSettings = MembershipSettings()
    tiles: TilesSettings = TilesSettings()
    cluster: ClusterSettings = ClusterSettings()
    truth: TruthSettings | None = None

    _file: Path = PrivateAttr(default=Path("run.toml").absolute())

    @property
    def file(self) -> Path:
        """The run file, absolute."""
        return self._file

    @property
    def folder(self) -> Path:
        """Folder of the run file: what its paths are relative to."""
        return self.file.parent

    def path(self, text: str) -> Path:
        """Return the absolute path of one written in the file."""
        return expand_path(text, self.folder)

    @property
    def out_folder(self) -> Path:
        """Folder of the output."""
        return self.path(self.out)

    @property
    def checkpoint(self) -> str:
        """Name of the shipped checkpoint, or the absolute path of another."""
        text = self.model.checkpoint
        return str(self.path(text)) if text.endswith(SUFFIX) else text

    def table_or_name(self, text: str) -> str:
        """Return the name of a shipped table, or the absolute path of a file.toml."""
        return str(self.path(text)) if text.endswith(".toml") else text

    def cluster_on(self, kind: str | None) -> ClusterSettings:
        """Return the ``[cluster]`` table with another kind.

        Parameters
        ----------
        kind
            Takes the place of ``cluster.kind``, None for that itself.

        Raises
        ------
        ConfigError
            If there is no such kind.
        """
        if kind is None:
            return self.cluster
        if not re.fullmatch(CLUSTER_KIND, kind):
            raise ConfigError(f"cluster kind {kind!r} is none of {CLUSTER_WORDS}")
        return self.cluster.model_copy(update={"kind": kind})

    @property
    def has_many_mosaics(self) -> bool:
        """Whether the run may be on several mosaics, so that a tile's name tells its mosaic.

        Not a matter of how many stores there are: the names stay when another one appears.
        """
        return self.mosaic.store is None or WORD.search(self.mosaic.store) is not None

    @property
    def parts_folder(self) -> Path:
        """Folder of the parts, one file a tile."""
        return self.out_folder / "parts"

    @property
    def catalog_path(self) -> Path:
        """The published catalog."""
        return self.out_folder / f"{self.name}.parquet"

    @property
    def detected_path(self) -> Path:
        """The list of detected sources."""
        return self.out_folder / "detected.parquet"

    @property
    def sources_path(self) -> Path:
        """The list of sources, the user's or that which was detected."""
        path = self.sources.path
        return self.detected_path if path is None else self.path(path)

    @property
    def report_path(self) -> Path:
        """The page that shows the result."""
        return self.out_folder / "report.html"

    @property
    def receipt_path(self) -> Path:
        """Counts of the finished run, as JSON."""
        return self.out_folder / "receipt.json"

    @property
    def resolved_path(self) -> Path:
        """The run file with every default filled in, beside the output."""
        return self.out_folder / "run.toml"

    def resolved_toml(self) -> str:
        """Return the run file with every default filled in and every path absolute."""
        content = _without_none(self.model_dump())
        tables = [content.get(name, {}) for name in ("sources", "bright_stars", "truth")]
        for table in (*tables, *content["redshifts"]):
            for key in ("path", "dust_map"):
                if key in table:
                    table[key] = str(self.path(table[key]))
        content["membership"] |= {
            key: self.table_or_name(text)
            for key in ("prior", "evidence", "red_sequence")
            if isinstance(text := content["membership"].get(key), str)
        }
        if self.sources.detect:
            del content["sources"]["columns"]
        mosaic = content["mosaic"]
        if "store" in mosaic:
            mosaic["store"] = place_text(mosaic["store"], self.folder)
        mosaic["stores"] = [place_text(store, self.folder) for store in mosaic["stores"]]
        for entry in mosaic["inputs"]:
            entry["path"] = str(self.path(entry["path"]))
        content["out"] = str(self.out_folder)
        content["model"]["checkpoint"] = self.checkpoint
        return tomli_w.dumps(content)


def _without_none(value: Any) -> Any:  # noqa: ANN401 - any TOML value
    """Return a value without the keys that are None: TOML has no null."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_without_none(item) for item in value]
    return value


def read_run(path: Path) -> RunConfig:
    """Read a run file.

    Raises
    ------
    ConfigError
        If it is missing, is not TOML, or a key or value is wrong.
    """
    config = read_settings(path, RunConfig)
    config._file = path.resolve()  # noqa: SLF001 - where it was read from
    return config


def as_run(run: str | Path | RunConfig) -> RunConfig:
    """Return a run file that may have been read already.

    Parameters
    ----------
    run
        Path of a run file, or its content.
    """
    return run if isinstance(run, RunConfig) else read_run(Path(run))
