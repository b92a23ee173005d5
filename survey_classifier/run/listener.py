"""Who is told how a run is going.

Owns the seam between the work and whoever shows it. Does not own any way of showing it
(``cli`` draws bars).
"""

__all__ = ["Listener"]


class Listener:
    """Told of a run's progress; this one keeps silent, subclasses show what they want."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """Hear that ``done`` of ``total`` steps of a stage are finished.

        Parameters
        ----------
        stage
            ``ingest`` (shards) or ``classify`` (tiles).
        done, total
            Counts; ``done`` never falls within a stage.
        """

    def say(self, line: str) -> None:
        """Hear something worth a line, such as where the dashboard is.

        Parameters
        ----------
        line
            Plain text.
        """
