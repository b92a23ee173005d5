"""Asking the services of published catalogs: TAP (VizieR, the Gaia archive) and the SkyServer.

Owns the talking: time-outs, refusals and answers cut short become one-line errors. Does not own
which query is asked (``published``) nor what its columns mean (``fetch``).

The clients are pyvo and astroquery, imported only when something is asked.
"""

import importlib
import io
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.csv as pa_csv
from astropy.table import Column, MaskedColumn, Table
from astropy.utils.exceptions import AstropyWarning

from survey_classifier.errors import ConfigError, ServiceError, SourcesError
from survey_classifier.sources.published import UNKNOWN, Published

__all__ = ["answer_of", "table_of"]

_TABLES_LIKE = "SELECT table_name FROM TAP_SCHEMA.tables WHERE table_name LIKE '%{catalog}/%'"
_POLL_S = 0.5
_MAX_POLL_S = 10.0
_SKYSERVER_MAX_ROWS = 500_000
"""Where the SkyServer cuts an answer short, without a word."""


def answer_of(definition: Published, query: str, timeout_s: float) -> Table:
    """Ask a service for rows.

    Parameters
    ----------
    definition
        Whom to ask, and how.
    query
        ADQL, or SQL for the SkyServer.
    timeout_s
        Longest silence, and longest wait for an asynchronous job, in seconds.

    Returns
    -------
    Table
        The rows, columns as the service names them; at least one row.

    Raises
    ------
    ServiceError
        If the service can't be reached, refuses, is silent for too long, or its answer is cut
        short or no table.
    SourcesError
        If it has no such rows.
    ConfigError
        If a client package is not installed.
    """
    with _translated(definition, timeout_s):
        if definition.protocol == "skyserver":
            table = _ask_skyserver(definition, query, timeout_s)
        else:
            table = _ask_tap(definition, query, timeout_s)
    if len(table) == 0:
        raise SourcesError(
            f"{definition.service} has no rows of {definition.identifier} for this query: check "
            "--center, or widen --radius"
        )
    return table


def table_of(definition: Published, timeout_s: float) -> str:
    """Return the archive's name of the table, asking for it where the definition leaves it open.

    Raises
    ------
    ServiceError
        As :func:`answer_of` does.
    SourcesError
        If the archive has no table, or several, under the catalog's name.
    """
    if definition.table != UNKNOWN:
        return definition.table
    query = _TABLES_LIKE.format(catalog=definition.catalog)
    with _translated(definition, timeout_s):
        found = _sync(definition, query, timeout_s)
    names = sorted(str(name).strip().strip('"') for name in found["table_name"])
    names = [name for name in names if name.startswith(f"{definition.catalog}/")]
    if len(names) == 1:
        return names[0]
    if not names:
        raise SourcesError(f"{definition.service} has no table of {definition.catalog}")
    raise SourcesError(
        f"{definition.catalog} has {len(names)} tables: choose one with --table: {', '.join(names)}"
    )


def _client(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"the package {name.partition('.')[0]} is needed to fetch catalogs and is not "
            "installed: pip install 'survey-classifier[catalogs]'"
        ) from error


@contextmanager
def _translated(definition: Published, timeout_s: float) -> Iterator[None]:
    """Turn whatever a client raises into our own error."""
    requests, dal = _client("requests"), _client("pyvo.dal")
    urllib3, remote = _client("urllib3.exceptions"), _client("astroquery.exceptions")
    # urllib3 counts a refused connection among its time-outs; requests doesn't.
    silent = (
        TimeoutError, requests.exceptions.Timeout, urllib3.ReadTimeoutError, remote.TimeoutError,
    )  # fmt: skip
    failed = (
        dal.DALServiceError, dal.DALQueryError, dal.DALFormatError,
        requests.exceptions.RequestException, urllib3.HTTPError, remote.RemoteServiceError,
        OSError, EOFError, ValueError, TypeError, KeyError, IndexError,
    )  # fmt: skip
    where = f"{definition.service} ({urlsplit(definition.endpoint).netloc})"
    try:
        with warnings.catch_warnings():
            # Odd units and UCDs are no concern of ours here; an overflow is found by its mark.
            warnings.simplefilter("ignore", AstropyWarning)
            warnings.simplefilter("ignore", dal.DALOverflowWarning)
            yield
    except failed as error:
        causes = list(_causes(error))
        if any(isinstance(cause, silent) for cause in causes):
            raise ServiceError(
                f"{where} did not answer within {timeout_s:g} s: try again later"
            ) from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ServiceError(
            f"{where} gave no usable answer: {reason[:300]}; nothing was stored, try again later"
        ) from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and whatever it was made of; the clients wrap them in several ways."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__, getattr(one, "cause", None), *one.args]
            waiting.append(getattr(one, "reason", None))


@contextmanager
def _service(definition: Published, timeout_s: float) -> Iterator[Any]:
    """Yield the TAP service, on a session that never waits longer than the time-out."""
    answers = []
    with _client("pyvo.utils.http").create_session() as session:
        ask = session.request

        def request(method: str, url: str, **options: Any) -> Any:  # noqa: ANN401
            answers.append(ask(method, url, **{**options, "timeout": timeout_s}))
            return answers[-1]

        session.request = request
        try:
            yield _client("pyvo.dal").TAPService(definition.endpoint, session=session)
        finally:
            # pyvo leaves answers that it needs no body of open.
            for answer in answers:
                answer.close()


def _ask_tap(definition: Published, query: str, timeout_s: float) -> Table:
    if definition.protocol == "tap":
        return _sync(definition, query, timeout_s)
    with _service(definition, timeout_s) as service:
        job = service.submit_job(query)
        try:
            job.run()
            _wait(job, timeout_s)
            return _whole(definition, job.fetch_result())
        finally:
            _forget(job)


def _sync(definition: Published, query: str, timeout_s: float) -> Table:
    with _service(definition, timeout_s) as service:
        return _whole(definition, service.run_sync(query))


def _wait(job: Any, timeout_s: float) -> None:  # noqa: ANN401
    """Wait until a job is done; pyvo's own waiting has no end."""
    deadline, pause = time.monotonic() + timeout_s, _POLL_S
    while (phase := job.phase) not in {"COMPLETED", "ERROR", "ABORTED"}:
        if time.monotonic() + pause > deadline:
            raise TimeoutError(f"the job is still {phase}")
        time.sleep(pause)
        pause = min(2 * pause, _MAX_POLL_S)
    job.raise_if_error()


def _forget(job: Any) -> None:  # noqa: ANN401
    """Delete a job on the server; one that cannot be deleted expires there by itself."""
    try:
        job.delete()
    except _client("pyvo.dal").DALServiceError:
        return


def _whole(definition: Published, results: Any) -> Table:  # noqa: ANN401
    """Return a TAP answer as a table, unless the service cut it short."""
    if str(results.query_status).upper() == "OVERFLOW":
        raise _cut_short(definition, len(results))
    return results.to_table()


def _cut_short(definition: Published, n_rows: int) -> ServiceError:
    return ServiceError(
        f"{definition.service} cut the answer short after {n_rows} rows: choose a smaller --radius"
    )


def _ask_skyserver(definition: Published, query: str, timeout_s: float) -> Table:
    sdss = _client("astroquery.sdss")
    with sdss.conf.set_temp("skyserver_baseurl", definition.endpoint):
        response = sdss.SDSSClass().query_sql_async(
            query, timeout=timeout_s, data_release=definition.release, cache=False
        )
        response.raise_for_status()
    head, _, body = response.content.partition(b"\n")
    # It answers a faulty query with status 200 and a page or JSON instead of a table.
    if not head.startswith(b"#Table"):
        raise ValueError(f"it sent no table but {response.text[:200]!r}")
    names = [c.served_as for c in definition.known_columns if c.ucd.startswith("meta.id")]
    # An id of nineteen digits must not become a number.
    options = pa_csv.ConvertOptions(
        column_types={name: pa.string() for name in names if name}, null_values=["", "null"]
    )
    rows = pa_csv.read_csv(io.BytesIO(body), convert_options=options)
    if len(rows) >= _SKYSERVER_MAX_ROWS:
        raise _cut_short(definition, len(rows))
    return Table([_column(name, rows.column(name)) for name in rows.column_names])


def _column(name: str, cells: pa.ChunkedArray) -> Column:
    """Return an Arrow column as an astropy one, masked where it has no value."""
    if pa.types.is_string(cells.type) or pa.types.is_null(cells.type):
        return Column([str(cell or "") for cell in cells.to_pylist()], name=name, dtype=str)
    missing = cells.is_null().to_numpy()
    if not missing.any():
        return Column(cells.to_numpy(), name=name)
    return MaskedColumn(cells.fill_null(0).to_numpy(), name=name, mask=missing)
