import io
import json
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import chain

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import votable
from astropy.table import Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from survey_classifier.catalog import parts as parts_module
from survey_classifier.catalog.footer import Provenance, votable_xml
from survey_classifier.catalog.parts import (
    done_parts,
    new_catalog,
    part_path,
    read_fingerprint,
    write_part,
)
from survey_classifier.catalog.publish import publish_catalog
from survey_classifier.catalog.schema import build_schema
from survey_classifier.errors import CatalogError, LostSourcesError, RunMismatchError
from survey_classifier.files import remove_leftovers

SCHEMA = build_schema(("nonmember", "member"), ("g",))
AWKWARD = 'name = "a<b> & \'c\'"\r\n\tnote = "\x0b\x00\ufffe é \U0001f30c"\n'
PROVENANCE = Provenance(
    fingerprint="0123456789abcdef" * 4,
    run="perseus <west> & 'east'",
    checkpoint="perseus-sdss",
    checkpoint_digest="f" * 64,
    configuration=AWKWARD,
    versions={"survey_classifier": "0.1.0", "numpy": np.__version__},
    created="2026-01-02T03:04:05+00:00",
    mosaics={"tile <1>": "a" * 64, "tile-2": "b" * 64},
)
OTHER = replace(PROVENANCE, fingerprint="fedcba9876543210" * 4)
IDS = ["S1", "é\U0001f30c", "a&<b>\"'", "a much longer identifier than the others", ""]


def rows(ids):
    """A table of classified and unclassified sources in turn."""
    n = len(ids)
    columns = {}
    for column in SCHEMA:
        if column.dtype == "string":
            columns[column.name] = np.full(n, "", dtype=object)
        else:
            columns[column.name] = np.arange(n).astype(column.dtype) / np.array(n + 1, column.dtype)
            columns[column.name] = columns[column.name].astype(column.dtype)
    scored = np.arange(n) % 2 == 0
    columns["source_id"] = np.array(ids, dtype=object)
    columns["status"] = np.where(scored, "classified", "off_mosaic")
    for column in SCHEMA:
        if column.scored:
            columns[column.name][~scored] = np.nan
    return SCHEMA.to_arrow(columns)


def write_parts(folder, *id_lists, provenance=PROVENANCE):
    """Write a part for each list of identifiers, and return their paths."""
    paths = [part_path(folder, f"r{number:03}-c000") for number in range(len(id_lists))]
    for path, ids in zip(paths, id_lists, strict=True):
        write_part(path, rows(ids), SCHEMA, provenance)
    return paths


def file_names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def published(tmp_path):
    """Three parts, the middle one without rows, and the catalog made of them."""
    paths = write_parts(tmp_path / "parts", IDS[:2], [], IDS[2:])
    target = tmp_path / "out" / "field.parquet"
    result = publish_catalog(paths, target, SCHEMA, PROVENANCE, reversed(IDS))
    assert (result.n_rows, result.n_by_status) == (5, {"classified": 3, "off_mosaic": 2})
    return {"catalog": target, "part": paths[2], "empty": paths[1]}


WHICH = pytest.mark.parametrize(
    ("which", "ids"), [("catalog", IDS), ("part", IDS[2:]), ("empty", [])]
)


@WHICH
def test_astropy_reads_units_and_descriptions(published, which, ids):
    table = Table.read(published[which], format="parquet.votable")
    assert list(table["source_id"]) == ids
    assert tuple(table.colnames) == SCHEMA.names
    for column in SCHEMA:
        read = table[column.name]
        assert str(read.unit or "") == {"pixel": "pix"}.get(column.unit, column.unit)
        assert read.description == column.description
        assert read.dtype.kind == "U" if column.dtype == "string" else read.dtype == column.dtype
    assert table.masked is False


@WHICH
def test_pandas_and_pyarrow_read_it(published, which, ids):
    frame = pd.read_parquet(published[which])
    assert list(frame["source_id"]) == ids
    assert frame["mag_g"].dtype == np.float32
    table = pq.read_table(published[which])
    assert table.schema.equals(SCHEMA.arrow)
    assert sum(column.null_count for column in table.columns) == 0


@WHICH
def test_footer_describes_the_file(published, which, ids):
    pairs = pq.read_metadata(published[which]).metadata
    assert pairs[b"IVOA.VOTable-Parquet.version"] == b"1.0"
    assert b"ARROW:schema" not in pairs
    provenance = json.loads(pairs[b"survey_classifier.provenance"])
    assert Provenance(**provenance) == PROVENANCE
    header = parsed(pairs[b"IVOA.VOTable-Parquet.content"])
    assert header.nrows == len(ids)
    for field in header.fields:
        values = [str(value) for value in pq.read_table(published[which])[field.name].to_pylist()]
        if field.datatype == "unicodeChar":
            longest = max((len(value.encode("utf-16-le")) // 2 for value in values), default=0)
            assert max(longest, 1) <= int(field.arraysize.removesuffix("*"))


def parsed(content):
    """The first table of a VOTable document, read without forgiveness."""
    return votable.parse(io.BytesIO(content), verify="exception").get_first_table()


def test_votable_says_what_the_schema_says():
    widths = {column.name: 7 for column in SCHEMA if column.dtype == "string"}
    document = votable_xml(SCHEMA, PROVENANCE, 12, widths)
    header = parsed(document.encode())
    assert header.name == PROVENANCE.run
    assert "<DATA" not in document
    assert [f.name for f in header.fields] == list(SCHEMA.names)
    kinds = {"int16": "short", "int32": "int", "int64": "long", "string": "unicodeChar"}
    kinds |= {"float32": "float", "float64": "double"}
    for field, column in zip(header.fields, SCHEMA, strict=True):
        assert field.datatype == kinds[column.dtype]
        assert field.arraysize == ("7*" if column.dtype == "string" else None)
        assert (field.ucd, field.description) == (column.ucd, column.description)
    assert {f.name for f in header.fields if f.ref == "icrs"} == {"ra", "dec"}


def test_votable_carries_the_run_whatever_its_text_holds():
    widths = {column.name: 1 for column in SCHEMA if column.dtype == "string"}
    header = parsed(votable_xml(SCHEMA, PROVENANCE, 0, widths).encode())
    said = {parameter.name: parameter.value for parameter in header.params}
    readable = AWKWARD.replace("\x0b", "\\x0b").replace("\x00", "\\x00").replace("￾", "\\ufffe")
    assert said["configuration"] == readable
    assert said["fingerprint"] == PROVENANCE.fingerprint
    assert said["version_numpy"] == np.__version__


@given(text=st.text(), name=st.text(min_size=1), ids=st.lists(st.text(max_size=8), unique=True))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_makes_a_readable_file(tmp_path, text, name, ids):
    provenance = replace(PROVENANCE, run=name, configuration=text)
    path = tmp_path / "any.parquet"
    write_part(path, rows(ids), SCHEMA, provenance)
    pairs = pq.read_metadata(path).metadata
    assert json.loads(pairs[b"survey_classifier.provenance"])["configuration"] == text
    parsed(pairs[b"IVOA.VOTable-Parquet.content"])
    assert_frame_equal(pd.read_parquet(path), rows(ids).to_pandas())


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"fingerprint": "abc"}, "fingerprint 'abc' is not a SHA-256"),
        ({"checkpoint_digest": "F" * 64}, "checkpoint_digest 'F+' is not a SHA-256"),
        ({"run": ""}, "the run has no name"),
        ({"mosaics": {"west": "1"}}, "digest of mosaic west '1' is not a SHA-256"),
        ({"created": "yesterday"}, "created 'yesterday' is not an ISO 8601 time"),
        ({"created": "2026-01-02T03:04:05"}, "has no time zone"),
    ],
)
def test_provenance_cannot_be_wrong(changed, told):
    with pytest.raises(CatalogError, match=told):
        replace(PROVENANCE, **changed)


def test_parts_that_are_there_are_done(tmp_path):
    assert done_parts(tmp_path / "nowhere", PROVENANCE.fingerprint) == {}
    write_parts(tmp_path, ["a"], [])
    (tmp_path / ".tile-r009-c000.parquet.0123.tmp").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("not a part")
    write_part(part_path(tmp_path, "b.r001-c000"), rows(["b"]), SCHEMA, PROVENANCE, "5f")
    assert done_parts(tmp_path, PROVENANCE.fingerprint) == {
        "r000-c000": "", "r001-c000": "", "b.r001-c000": "5f",
    }  # fmt: skip
    remove_leftovers(tmp_path)
    assert file_names(tmp_path) == [
        "notes.txt",
        "tile-b.r001-c000.parquet",
        "tile-r000-c000.parquet",
        "tile-r001-c000.parquet",
    ]


def test_a_part_of_another_run_stops(tmp_path):
    write_parts(tmp_path, ["a"])
    write_part(part_path(tmp_path, "r007-c000"), rows(["b"]), SCHEMA, OTHER)
    told = "belongs to run fedcba987654, this is run 0123456789ab.*choose another `out`"
    with pytest.raises(RunMismatchError, match=told):
        done_parts(tmp_path, PROVENANCE.fingerprint)
    with pytest.raises(RunMismatchError, match="r007-c000"):
        publish_catalog(sorted(tmp_path.iterdir()), tmp_path / "x", SCHEMA, PROVENANCE, ["a", "b"])


def test_files_that_are_no_parts(tmp_path):
    (whole,) = write_parts(tmp_path, ["a"])
    assert read_fingerprint(whole) == PROVENANCE.fingerprint
    whole.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(CatalogError, match="is damaged or no Parquet file"):
        done_parts(tmp_path, PROVENANCE.fingerprint)
    with pytest.raises(CatalogError, match="is damaged or no Parquet file"):
        read_fingerprint(tmp_path / "absent.parquet")
    pq.write_table(pa.table({"a": [1]}), whole)
    with pytest.raises(CatalogError, match="was not written by survey_classifier"):
        read_fingerprint(whole)


def test_a_flipped_bit_is_not_published(tmp_path):
    ids = [f"S{number}" for number in range(500)]
    (part,) = write_parts(tmp_path, ids)
    whole = part.read_bytes()
    chunk = pq.read_metadata(part).row_group(0).column(SCHEMA.names.index("p_image"))
    first = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
    for back in range(1, 40):
        content = bytearray(whole)
        content[first + chunk.total_compressed_size - back] ^= 1
        part.write_bytes(content)
        with pytest.raises(CatalogError, match="is damaged"):
            publish_catalog([part], tmp_path / "x.parquet", SCHEMA, PROVENANCE, ids)
    part.write_bytes(whole)
    assert publish_catalog([part], tmp_path / "x.parquet", SCHEMA, PROVENANCE, ids).n_rows == 500


def test_a_table_of_another_schema_is_refused(tmp_path):
    table = rows(["a"]).drop_columns(["ebv"])
    with pytest.raises(CatalogError, match="do not fit the catalog"):
        write_part(tmp_path / "tile-a.parquet", table, SCHEMA, PROVENANCE)
    assert file_names(tmp_path) == []


def test_a_failed_write_leaves_what_was_there(tmp_path):
    (part,) = write_parts(tmp_path, ["a"])
    before = part.read_bytes()

    def write_and_fail():
        with new_catalog(part, SCHEMA, PROVENANCE) as catalog:
            catalog.append(rows(["b"]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_fail()
    assert part.read_bytes() == before
    assert file_names(tmp_path) == [part.name]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CatalogError, match=r"cannot write .*tile-a\.parquet"):
        write_part(part_path(tmp_path / "file", "a"), rows(["a"]), SCHEMA, PROVENANCE)


DIES_WHILE_WRITING = """
import json, os, sys
from pathlib import Path
from survey_classifier.catalog.footer import Provenance
from survey_classifier.catalog.parts import new_catalog
from survey_classifier.catalog.schema import build_schema

schema = build_schema(["member"], [])
with new_catalog(Path(sys.argv[1]), schema, Provenance(**json.loads(sys.argv[2]))) as catalog:
    catalog.append(schema.arrow.empty_table())
    os._exit(9)
"""


def test_a_killed_write_leaves_no_part(tmp_path):
    path = part_path(tmp_path, "r000-c000")
    arguments = [str(path), json.dumps(asdict(replace(PROVENANCE, configuration="")))]
    killed = subprocess.run([sys.executable, "-c", DIES_WHILE_WRITING, *arguments], check=False)
    assert killed.returncode == 9
    assert [name.endswith(".tmp") for name in file_names(tmp_path)] == [True]
    assert done_parts(tmp_path, PROVENANCE.fingerprint) == {}
    remove_leftovers(tmp_path)
    assert file_names(tmp_path) == []


@pytest.mark.parametrize(
    ("id_lists", "expected", "told"),
    [
        ([["a"], ["b"]], ["a", "b", "c"], r"of 3 sources 1 \('c'\) are in no part"),
        ([["a", "b"], ["b"]], ["a", "b"], r"1 \('b'\) in several rows"),
        ([["a"], ["b"]], ["a"], r"1 \('b'\) rows are of no source"),
        ([["a"]], [*"abcdefgh"], r"7 \('b', 'c', 'd', 'e', 'f', ...\) are in no part"),
        ([], ["a"], r"1 \('a'\) are in no part"),
    ],
)
def test_no_catalog_unless_every_source_is_there_once(tmp_path, id_lists, expected, told):
    target = tmp_path / "field.parquet"
    target.write_bytes(b"the catalog of yesterday")
    paths = write_parts(tmp_path / "parts", *id_lists)
    with pytest.raises(LostSourcesError, match=told):
        publish_catalog(paths, target, SCHEMA, PROVENANCE, expected)
    assert target.read_bytes() == b"the catalog of yesterday"
    assert set(file_names(tmp_path)) <= {"field.parquet", "parts"}


@pytest.mark.parametrize("rows_per_group", [1, 7, 1000])
def test_row_groups_join_parts_and_keep_their_order(tmp_path, monkeypatch, rows_per_group):
    monkeypatch.setattr(parts_module, "ROWS_PER_GROUP", rows_per_group)
    sizes = [3, 0, 5, 1, 4]
    id_lists = [[f"{part}-{row}" for row in range(n)] for part, n in enumerate(sizes)]
    paths = write_parts(tmp_path / "parts", *id_lists)
    target = tmp_path / "field.parquet"
    publish_catalog(paths, target, SCHEMA, PROVENANCE, chain.from_iterable(id_lists))
    whole = pa.concat_tables([rows(ids) for ids in id_lists])
    assert_frame_equal(pd.read_parquet(target), whole.to_pandas())
    assert pq.read_metadata(target).num_row_groups == {1: 4, 7: 2, 1000: 1}[rows_per_group]


def test_no_source_at_all_is_a_catalog_without_rows(tmp_path):
    result = publish_catalog([], tmp_path / "field.parquet", SCHEMA, PROVENANCE, [])
    assert (result.n_rows, result.n_by_status) == (0, {})
    assert len(Table.read(tmp_path / "field.parquet", format="parquet.votable")) == 0
