"""Places: a store in a bucket is the store in a folder, written, resumed and read alike."""

import logging
import os
import pickle
import re
import socket
import tempfile
import threading
import time
from functools import partial
from http.client import HTTPConnection
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic import blueprint as blueprint_module
from survey_classifier.mosaic import objects
from survey_classifier.mosaic import place as place_module
from survey_classifier.mosaic import writer as writer_module
from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.mosaic.place import ROOT, Place, reason
from survey_classifier.mosaic.seal import is_finished
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.mosaic.writer import MosaicWriter
from tests.test_mosaic_store import LAYOUT, SHAPE, planned, some_pixels, window_of, write

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}
WHOLE = Box(0, SHAPE[0], 0, SHAPE[1])
NOBODY = 65534


@pytest.fixture(scope="module")
def server():
    """An object store on this machine; the environment says where it is, as for a real one."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    address = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", address)
        yield address
    moto.stop()


@pytest.fixture
def bucket(server, request):
    """A new bucket for each test."""
    name = re.sub("[^a-z]+", "-", request.node.name.lower())[:60].strip("-")
    connection = HTTPConnection(server.removeprefix("http://"))
    connection.request("PUT", f"/{name}")
    assert connection.getresponse().status == 200
    connection.close()
    return f"s3://{name}"


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    for module in (writer_module, blueprint_module):
        monkeypatch.setattr(module, "SHARD_PX", 512)
    monkeypatch.setattr(blueprint_module, "CHUNK_PX", 64)


def require_alike(one, two):
    """Compare two mosaics in all that can be read of them."""
    assert (one.digest, one.bands, one.shape) == (two.digest, two.bands, two.shape)
    for level in range(one.n_levels):
        box = Box(0, 1 + WHOLE.y1 >> level, -1, WHOLE.x1 >> level)
        ours, theirs = one.read(box, ("g", "i"), level), two.read(box, ("g", "i"), level)
        np.testing.assert_array_equal(ours.flux, theirs.flux)
        np.testing.assert_array_equal(ours.mask, theirs.mask)
        ours, theirs = (mosaic.read_variance(box, "g", level) for mosaic in (one, two))
        np.testing.assert_array_equal(ours, theirs)
    for band in ("g", "i"):
        np.testing.assert_array_equal(one.shard_digests(band), two.shard_digests(band))
        np.testing.assert_array_equal(one.noise(band), two.noise(band))


def test_a_store_in_a_bucket_is_written_resumed_and_read(bucket, tmp_path):
    url, pixels = f"{bucket}/survey/m.zarr", some_pixels()
    write(url, pixels, n_shards=3)
    with pytest.raises(MosaicError, match="not finished"):
        Mosaic.open(url)
    assert not is_finished(url)
    writer = MosaicWriter.open(url)
    assert len(list(writer.pending(planned(writer)))) == 8 - 3
    mosaic = write(url, pixels).finish()
    require_alike(mosaic, write(tmp_path / "m.zarr", pixels).finish())
    assert Place.of(f"{bucket}/survey").names() == {"m.zarr"}


def test_a_store_in_a_bucket_is_updated(bucket, tmp_path):
    url, pixels = f"{bucket}/m.zarr", some_pixels()
    pixels[0][0, 512:, 512:] = np.nan
    write(url, pixels).finish()
    pixels[0][:, 600, 500:] = 5
    writer = MosaicWriter.open_or_create(url, LAYOUT)
    plan = planned(writer)
    plan["g"][1] = 8
    plan["i"][1] = 8
    for band, box in writer.pending(plan):
        writer.write(band, box, window_of(pixels, band, box), 8)
        assert not is_finished(url)
    require_alike(writer.finish(), write(tmp_path / "m.zarr", pixels).finish())


def test_a_creation_that_was_cut_off_leaves_nothing_that_counts(bucket, monkeypatch):
    """In a bucket nothing can be renamed, so what makes it a store is written last."""
    place, written = Place.of(f"{bucket}/m.zarr"), []
    put = place_put(monkeypatch, written, fail_at=5)
    with pytest.raises(KeyboardInterrupt):
        MosaicWriter.open_or_create(place, LAYOUT)
    assert ROOT not in written
    assert not place.exists()
    put.undo()
    assert write(place, some_pixels()).finish().digest


def place_put(monkeypatch, written, fail_at):
    """Let the writing of objects be interrupted after some of them."""
    import obstore

    original = obstore.put

    def interrupted(store, path, content):
        if len(written) == fail_at:
            raise KeyboardInterrupt
        written.append(path)
        return original(store, path, content)

    monkeypatch.setattr(obstore, "put", interrupted)
    return monkeypatch


def test_a_bucket_that_lacks_a_shard_is_refused(bucket):
    import obstore
    from obstore.store import from_url

    url = f"{bucket}/m.zarr"
    write(url, some_pixels()).finish()
    obstore.delete(from_url(url), "i/1/mask/c/1/0")
    with pytest.raises(MosaicError, match="lacks i/1/mask/c/1/0;"):
        Mosaic.open(url)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("url", ["s3://no-such-bucket/m.zarr", "s3://no-such-bucket"])
def test_what_is_not_in_a_bucket_is_said_in_a_line(url):
    with pytest.raises(MosaicError, match=f"no mosaic at {url}; make one") as raised:
        Mosaic.open(url)
    assert "\n" not in str(raised.value)
    message = f"cannot write {url}: there is no bucket s3://no-such-bucket; make it, or mend the"
    with pytest.raises(MosaicError, match=message) as raised:
        MosaicWriter.open_or_create(url, LAYOUT)
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("ask", [Place.names, lambda place: place.files("g")])
def test_an_answer_in_xml_is_said_in_words(ask):
    with pytest.raises(MosaicError) as raised:
        ask(Place.of("s3://no-such-bucket"))
    line = str(raised.value)
    assert "404 Not Found: NoSuchBucket, The specified bucket does not exist; check" in line
    assert "<" not in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("404: <?xml version='1.0'?>\n<Error><Code>A</Code><Message>b c.</Message></Error>",
         "404: A, b c"),
        ("403: <Error>\n <Message>no</Message><Code>Denied</Code></Error>", "403: Denied, no"),
        ("502: <html><body>Bad <b>gateway</b></body></html>", "502"),
        ("No space\nleft (28)", "No space left (28)"),
        ("no: retry, max_retries: 5, retry_timeout: 60s\nDebug source: page", "no: retry"),
    ],
)  # fmt: skip
def test_a_reason_is_a_line_without_markup(said, line):
    assert reason(RuntimeError(said)) == line


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"])
def test_an_endpoint_without_encryption_must_be_allowed(server, monkeypatch, name):
    """Where it is not, the client says no more than 'builder error'."""
    url = f"s3://plain-{name.lower().replace('_', '-')}/m.zarr"
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv(name, server)
    for value in (None, "false"):
        if value is None:
            monkeypatch.delenv("AWS_ALLOW_HTTP")
        else:
            monkeypatch.setenv("AWS_ALLOW_HTTP", value)
        objects.client.cache_clear()
        with pytest.raises(MosaicError) as raised:
            Mosaic.open(url)
        assert str(raised.value).startswith(f"cannot reach {url} at {server}: ")
        assert "set AWS_ALLOW_HTTP=true" in str(raised.value)
        assert "builder error" not in str(raised.value)
        assert "\n" not in str(raised.value)
    for value in ("true", "1", "Yes"):
        monkeypatch.setenv("AWS_ALLOW_HTTP", value)
        objects.client.cache_clear()
        assert not Place.of(url).exists()


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("ask", [Mosaic.open, lambda url: Place.of(url).exists(), is_finished])
@pytest.mark.parametrize("answers", [False, True])
def test_an_object_store_that_does_not_answer_is_said_soon_in_a_line(
    monkeypatch, request, ask, answers
):
    """Nobody listens at the address, or somebody takes the call and says nothing."""
    monkeypatch.setattr(place_module, "FIRST_ANSWER_S", 1.0)
    url = f"s3://gone-{abs(hash(request.node.name))}/m.zarr"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1] if answers else 9}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        start = time.monotonic()
        with pytest.raises(MosaicError) as raised:
            ask(url)
    # It would be a minute and a half if each of several requests were waited for.
    assert time.monotonic() - start < 5
    line = str(raised.value)
    assert line.startswith(f"cannot reach {url} at {endpoint}: ")
    assert "AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID" in line
    assert "\n" not in line
    assert "retry_timeout" not in line


class RangeHandler(SimpleHTTPRequestHandler):
    """A web server of files that answers ranges, as those of archives do."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        span = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if span is None:
            return super().do_GET()
        file = Path(self.translate_path(self.path))
        if not file.is_file():
            return self.send_error(404)
        content = file.read_bytes()
        first, last = span[1], span[2]
        start = int(first) if first else len(content) - int(last)
        stop = min(int(last) + 1, len(content)) if first and last else len(content)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        self.wfile.write(content[start:stop])
        return None


@pytest.fixture
def website(tmp_path):
    """The address of a web server of a folder."""
    handler = partial(RangeHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_store_on_a_web_server_is_read(website, tmp_path):
    local = write(tmp_path / "m.zarr", some_pixels()).finish()
    require_alike(Mosaic.open(f"{website}/m.zarr"), local)
    with pytest.raises(MosaicError, match="no mosaic at"):
        Mosaic.open(f"{website}/absent.zarr")
    with pytest.raises(MosaicError, match="can only be read; name a folder"):
        MosaicWriter.open(f"{website}/m.zarr")
    with pytest.raises(MosaicError, match="can only be read; name a folder"):
        MosaicWriter.open_or_create(f"{website}/absent.zarr", LAYOUT)


def test_a_shard_without_data_needs_no_file_in_a_bucket_nor_on_a_web_server(
    bucket, website, tmp_path
):
    """Neither what it held before is left, nor is it taken for one that was lost."""
    path, url, box = tmp_path / "m.zarr", f"{bucket}/m.zarr", Box(512, 700, 0, 512)
    pixels = some_pixels()
    for store in (path, url):
        write(store, pixels).finish()
        writer = MosaicWriter.open(store)
        writer.write("g", box, None, 8)
        writer.finish()
    assert not (path / "g" / "0" / "flux" / "c" / "1" / "0").exists()
    assert "g/0/flux/c/1/0" not in Place.of(url).files("g")
    local = Mosaic.open(path)
    assert (local.read(box, ("g",)).mask == MaskBit.NO_DATA).all()
    for store in (url, f"{website}/m.zarr"):
        require_alike(Mosaic.open(store), local)


def test_a_hole_in_a_store_on_a_web_server_is_not_a_hole_in_the_sky(website, tmp_path):
    """Its files cannot be listed, so a shard that is missing is noticed when it is read."""
    write(tmp_path / "m.zarr", some_pixels()).finish()
    (tmp_path / "m.zarr" / "i" / "0" / "flux" / "c" / "1" / "0").unlink()
    mosaic = Mosaic.open(f"{website}/m.zarr")
    assert not (mosaic.read(Box(0, 512, 0, 530), ("i",)).mask & MaskBit.NO_DATA).any()
    with pytest.raises(MosaicError, match="i/0/flux/c/1/0 is missing"):
        mosaic.read(Box(511, 513, 0, 1), ("i",))


@pytest.mark.parametrize(
    ("text", "name", "kept"),
    [
        ("out/perseus-hsc.zarr", "perseus-hsc", "out/perseus-hsc.zarr"),
        ("out/a.zarr/", "a", "out/a.zarr"),
        ("s3://bucket/a/b.zarr/", "b", "s3://bucket/a/b.zarr"),
        ("https://archive.example/t1", "t1", "https://archive.example/t1"),
    ],
)
def test_names_of_places(text, name, kept):
    place = Place.of(text)
    assert (place.name, str(place)) == (name, kept)
    assert Place.of(place) is place
    assert pickle.loads(pickle.dumps(place)) == place  # noqa: S301


def test_a_place_of_a_kind_that_is_not_known_is_refused():
    with pytest.raises(MosaicError, match="not at ftp://"):
        Place.of("ftp://archive.example/m.zarr")


def test_what_lies_in_a_folder(tmp_path):
    place = Place.of(tmp_path / "m.zarr")
    assert not place.exists()
    assert place.names() == place.files("g") == set()
    place.create({ROOT: b"{}", "g/0/zarr.json": b"{}"})
    assert place.exists()
    assert place.names() == {ROOT, "g"}
    assert place.files("g") == {"g/0/zarr.json"}
    assert (place.has(ROOT), place.has("g"), place.has("i/0")) == (True, False, False)


@pytest.mark.parametrize(
    "store", ["/proc/m.zarr", "/proc/self/m.zarr", "/proc/a/m.zarr", "/dev/null/m.zarr"]
)
def test_a_place_where_no_store_can_be_made(store):
    """No lock can be made there; it is not another process that has it."""
    with (
        pytest.raises(
            MosaicError, match=f"cannot make or lock {store}: .*; name a store"
        ) as raised,
        Place.of(store).claimed(),
    ):
        pass
    assert "process" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_folder_that_cannot_be_written_to():
    """Root may write anywhere, so for a moment this process is not root's."""
    with tempfile.TemporaryDirectory() as folder:
        parent = Path(folder) / "read-only"
        parent.mkdir()
        Path(folder).chmod(0o755)
        parent.chmod(0o555)
        before = os.geteuid()
        os.seteuid(before or NOBODY)
        try:
            with (
                pytest.raises(
                    MosaicError, match=r"cannot make or lock .*Permission denied.*; name"
                ),
                Place.of(parent / "m.zarr").claimed(),
            ):
                pass
        finally:
            os.seteuid(before)
            parent.chmod(0o755)
