"""Object stores: their clients, and what is said when one does not answer.

Owns how long is waited and how failures read. Does not own what a store is (``place``, ``schema``).
"""

import asyncio
import os
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import cache
from typing import Any

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import from_url

from survey_classifier.errors import MosaicError

__all__ = ["FIRST_ANSWER_S", "client", "has_object", "reason", "unreachable"]

FIRST_ANSWER_S = 10.0
"""How long an object store may take to say whether a store is there: what is wrong with its
address or with the environment is said soon."""
MAX_RETRIES = 5
PATIENCE_S = 60.0
"""How long one that has answered is asked again before it is given up."""
ENVIRONMENT = {
    "s3": "the address, AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "or set AWS_SKIP_SIGNATURE=true for a public bucket",
    "gs": "the address and GOOGLE_APPLICATION_CREDENTIALS",
}
"""What decides whether a place can be reached."""


@cache
def client(url: str) -> Any:  # noqa: ANN401 - one class for each kind of object store
    """Return the client of a URL; one for all, as it keeps connections open."""
    return from_url(
        url,
        retry_config={
            "max_retries": MAX_RETRIES,
            "retry_timeout": timedelta(seconds=PATIENCE_S),
        },
        client_options={"allow_http": True} if url.startswith("http://") else None,
    )


def has_object(url: str, file: str, *, wait_s: float | None = None) -> bool:
    """Return whether there is a file under a URL.

    Parameters
    ----------
    url
        The URL.
    file
        Path of the file under it.
    wait_s
        How long to wait for the answer; by default as long as the client does.

    Raises
    ------
    MosaicError
        If the object store does not answer or refuses.
    """
    try:
        if wait_s is None:
            obstore.head(client(url), file)
        else:
            # In a thread of its own: a notebook has an event loop, in which no other can be run.
            with ThreadPoolExecutor(max_workers=1) as thread:
                thread.submit(asyncio.run, _head(url, file, wait_s)).result()
    except (NotFoundError, FileNotFoundError):
        return False
    except TimeoutError as error:
        raise unreachable(url, f"no answer within {wait_s:.0f} s") from error
    except BaseError as error:
        raise unreachable(url, reason(error)) from error
    return True


async def _head(url: str, file: str, wait_s: float) -> None:
    async with asyncio.timeout(wait_s):
        await obstore.head_async(client(url), file)


def unreachable(url: str, what: str) -> MosaicError:
    """Return what to raise of a place that cannot be reached.

    Parameters
    ----------
    url
        The URL of the place.
    what
        What went wrong, in a line.
    """
    scheme = url.partition("://")[0]
    endpoint = os.environ.get("AWS_ENDPOINT_URL") if scheme == "s3" else None
    where = f"{url} at {endpoint}" if endpoint else url
    check = ENVIRONMENT.get(scheme, "the address")
    return MosaicError(f"cannot reach {where}: {what}; check {check}")


def reason(error: Exception) -> str:
    """Return what went wrong in a line; object stores append a page for their developers."""
    line = " ".join(str(error).partition("Debug source")[0].split())
    return re.sub(r", max_retries: \d+, retry_timeout: \w+", "", line)
