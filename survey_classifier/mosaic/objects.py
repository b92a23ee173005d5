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
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
"""Variables that say where the buckets of ``s3://`` are, any of them."""
YES = {"1", "true", "on", "yes", "y"}
"""How AWS_ALLOW_HTTP is said, in any case."""
BODY = re.compile(r"<(\?xml|!DOCTYPE|html|Error)\b.*", re.IGNORECASE)
"""The answer of a server, which its client appends to what it says itself."""


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
    endpoint = _endpoint() if scheme == "s3" else None
    where = f"{url} at {endpoint}" if endpoint else url
    if endpoint and endpoint.startswith("http://") and not _may_be_plain():
        return MosaicError(
            f"cannot reach {where}: http:// is not encrypted, and not allowed; set "
            "AWS_ALLOW_HTTP=true, or give an https:// endpoint"
        )
    check = ENVIRONMENT.get(scheme, "the address")
    return MosaicError(f"cannot reach {where}: {what}; check {check}")


def _endpoint() -> str | None:
    """Return where the environment says that buckets are."""
    return next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), None)


def _may_be_plain() -> bool:
    """Return whether the environment allows endpoints without encryption."""
    return os.environ.get("AWS_ALLOW_HTTP", "").lower() in YES


def reason(error: Exception) -> str:
    """Return what went wrong in a line; object stores append pages for their developers."""
    line = " ".join(str(error).partition("Debug source")[0].split())
    line = re.sub(r", max_retries: \d+, retry_timeout: \w+", "", line)
    return BODY.sub(_said, line).rstrip(" :")


def _said(body: re.Match[str]) -> str:
    """Return what the body of an answer says in its code and its message, without the markup."""
    parts = (re.search(rf"<{tag}>(.*?)</{tag}>", body[0]) for tag in ("Code", "Message"))
    return ", ".join(part[1].strip(" .") for part in parts if part is not None)
