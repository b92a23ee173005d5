"""The watcher of a run on the scheduler: a *Survey* page on the Dask dashboard.

A preload, for ``dask scheduler --preload survey_classifier.run.monitor`` or the configuration
key ``distributed.scheduler.preload``. It must be imported before the dashboard is built, so
importing it registers the page and the JSON route; both answer for every scheduler of the
process. The rest is done when the scheduler starts. What it serves, beside the dashboard::

    /survey                a page: tiles on the sky, rates, histogram of p_member, rejects
    /survey/tiles.json     the same as JSON
    /metrics               survey_tiles{state}, survey_stamps_total, survey_sources_total{status}

Owns everything that touches Dask for this, private hooks of ``distributed`` above all: each
goes through `_hook`, so that a release that moved one costs the page, never the run. Does not
own the numbers (``survey_state``) nor how they look (``survey_page``). Listens to nothing by
itself: where the dashboard listens is the scheduler's configuration.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask
from bokeh.document import Document
from distributed import Scheduler, SchedulerPlugin
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from tornado.web import RequestHandler

from survey_classifier.errors import ClusterError
from survey_classifier.run.survey_messages import PLAN_TOPIC, SCORER, TILE_TOPIC
from survey_classifier.run.survey_page import SurveyPage
from survey_classifier.run.survey_state import Snapshot, SurveyState

__all__ = ["SurveyPlugin", "dask_setup", "routes"]

UPDATE_MILLISECONDS = 1000

logger = logging.getLogger(__name__)


class SurveyPlugin(SchedulerPlugin):
    """Follows the run that its scheduler works on, by the events that the run sends."""

    name = "survey"

    def __init__(self) -> None:
        self.state = SurveyState()
        self._scheduler: Scheduler | None = None
        self._collector = SurveyCollector(self.state)
        self._registered = False

    async def start(self, scheduler: Scheduler) -> None:
        """Put the metrics beside the scheduler's own."""
        self._scheduler = scheduler
        # A second scheduler of the same process finds the names taken.
        with _hook("prometheus_client.REGISTRY.register"):
            REGISTRY.register(self._collector)
            self._registered = True

    async def close(self) -> None:
        """Take the metrics away again."""
        if self._registered:
            REGISTRY.unregister(self._collector)

    def log_event(self, topic: str, msg: Any) -> None:  # noqa: ANN401 - Dask's signature
        """Take in an event of a run; one that cannot be read is reported and left out."""
        try:
            if topic == PLAN_TOPIC:
                self.state.apply_plan(msg)
            elif topic == TILE_TOPIC:
                self.state.apply_tile(msg)
        except ClusterError as error:
            logger.warning("%s", error)

    def snapshot(self) -> Snapshot:
        """Return the state as it is now."""
        workers = self._scheduler.workers.values() if self._scheduler else ()
        n_scorers = sum(int(worker.resources.get(SCORER, 0)) for worker in workers)
        return self.state.snapshot(time.time(), n_scorers)


class SurveyCollector(Collector):
    """The metrics of a run, in Prometheus' terms."""

    def __init__(self, state: SurveyState) -> None:
        self._state = state

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Return the metrics as they are now."""
        tiles = GaugeMetricFamily("survey_tiles", "Tiles by state.", labels=["state"])
        for state, count in self._state.tiles_by_state().items():
            tiles.add_metric([state], count)
        yield tiles
        yield CounterMetricFamily(
            "survey_stamps", "Stamps that were scored.", value=self._state.n_stamps
        )
        # Not those of failed tiles: such a tile may be tried again, and a counter never falls.
        sources = CounterMetricFamily(
            "survey_sources", "Sources of finished tiles by status.", labels=["status"]
        )
        for status, count in self._state.finished_by_status().items():
            sources.add_metric([status], count)
        yield sources


class TilesHandler(RequestHandler):
    """Answers with the state as JSON."""

    def initialize(self, dask_server: Scheduler) -> None:
        """Take the scheduler from Dask."""
        self._scheduler = dask_server

    def get(self) -> None:
        """Write the state; 404 where the scheduler does not watch."""
        plugin = _plugin(self._scheduler)
        if plugin is None:
            self.set_status(404)
            self.write({"error": f"this scheduler was started without --preload {__name__}"})
        else:
            self.write(dict(plugin.snapshot()))


Route = tuple[str, type[RequestHandler], dict[str, Any]]

routes: list[Route] = [(r"/survey/tiles\.json", TilesHandler, {})]
"""What Dask adds to the dashboard's server (``distributed.scheduler.http.routes``)."""


def survey_document(scheduler: Scheduler, extra: dict[str, Any], document: Document) -> None:
    """Fill the document of one viewer.

    Parameters
    ----------
    scheduler
        The scheduler whose dashboard is looked at.
    extra
        What the dashboard's frame needs, the entries of its navigation bar among it.
    document
        To fill.
    """
    plugin = _plugin(scheduler) or SurveyPlugin()
    page = SurveyPage(plugin.snapshot)
    document.title = "Dask: Survey"
    document.add_root(page.root)
    document.add_periodic_callback(page.update, UPDATE_MILLISECONDS)
    with _hook("distributed.dashboard.components.scheduler.env and BOKEH_THEME"):
        from distributed.dashboard.components.scheduler import BOKEH_THEME, env

        document.template = env.get_template("simple.html")
        document.template_variables.update(extra)
        document.theme = BOKEH_THEME


def dask_setup(scheduler: Scheduler) -> None:
    """Begin to watch; Dask calls this when the scheduler starts."""
    # Only added: the scheduler starts its plugins itself, right after its preloads.
    scheduler.add_plugin(SurveyPlugin(), idempotent=True)
    with _hook("distributed.dashboard.scheduler.template_variables"):
        from distributed.dashboard.scheduler import template_variables

        pages = template_variables(scheduler)["pages"]
        if "survey" not in pages:
            pages.insert(1, "survey")


def _register() -> None:
    """Make the page and the JSON route known to schedulers that are built later."""
    key = "distributed.scheduler.http.routes"
    modules = dask.config.get(key)
    if __name__ not in modules:
        dask.config.set({key: [*modules, __name__]})
    with _hook("distributed.dashboard.scheduler.applications"):
        from distributed.dashboard.scheduler import applications

        applications["/survey"] = survey_document


def _plugin(scheduler: Scheduler) -> SurveyPlugin | None:
    """Return the plugin that follows a scheduler's runs."""
    plugin = scheduler.plugins.get(SurveyPlugin.name)
    return plugin if isinstance(plugin, SurveyPlugin) else None


@contextmanager
def _hook(name: str) -> Iterator[None]:
    """Say which hook is not as it was, and go on without it."""
    try:
        yield
    except (ImportError, AttributeError, LookupError, TypeError, ValueError) as error:
        logger.warning(
            "no full Survey page, the run goes on: %s: %s: %s", name, type(error).__name__, error
        )


_register()
