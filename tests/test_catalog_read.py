import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from survey_classifier.catalog.footer import PROVENANCE_KEY, Provenance
from survey_classifier.catalog.parts import write_part
from survey_classifier.catalog.read import column_names, read_columns, read_provenance
from survey_classifier.catalog.schema import build_schema
from survey_classifier.errors import CatalogError

SCHEMA = build_schema(("nonmember", "member"), ("g",))
PROVENANCE = Provenance(
    fingerprint="0123456789abcdef" * 4,
    run="field",
    checkpoint="perseus-sdss",
    checkpoint_digest="f" * 64,
    configuration="name = 'é <field>'\n",
    versions={"numpy": np.__version__},
    created="2026-01-02T03:04:05+00:00",
)


def write(path, n):
    columns = {c.name: np.arange(n).astype(c.dtype) if c.dtype != "string" else
               np.array([f"{c.name} {row}" for row in range(n)], dtype=object)
               for c in SCHEMA}  # fmt: skip
    for column in SCHEMA:
        if column.limits is not None or column.scored:
            columns[column.name] = np.zeros(n, dtype=column.dtype)
    columns["status"][:] = "classified"
    write_part(path, SCHEMA.to_arrow(columns), SCHEMA, PROVENANCE)
    return columns


@pytest.mark.parametrize("n", [0, 5])
def test_reads_what_was_written(tmp_path, n):
    path = tmp_path / "field.parquet"
    written = write(path, n)
    found = read_columns(path, SCHEMA.names)
    assert column_names(path) == SCHEMA.names == tuple(found)
    for column in SCHEMA:
        values = found[column.name]
        assert values.shape == (n,)
        assert values.dtype == (object if column.dtype == "string" else column.dtype)
        np.testing.assert_array_equal(values, written[column.name])
    assert read_provenance(path) == PROVENANCE


def test_names_the_column_that_is_missing(tmp_path):
    path = tmp_path / "field.parquet"
    write(path, 2)
    with pytest.raises(CatalogError, match=r"has no column 'mag_r'; it has source_id, ra"):
        read_columns(path, ("ra", "mag_r"))


@pytest.mark.parametrize("read", [column_names, read_provenance, lambda p: read_columns(p, ["ra"])])
def test_a_file_that_cannot_be_read(tmp_path, read):
    path = tmp_path / "field.parquet"
    with pytest.raises(CatalogError, match="cannot be read"):
        read(path)
    path.write_bytes(b"PAR1 and no more PAR1")
    with pytest.raises(CatalogError, match="cannot be read"):
        read(path)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {PROVENANCE_KEY: "{"},
        {PROVENANCE_KEY: json.dumps({"run": "field"})},
        {PROVENANCE_KEY: "1"},
    ],
)
def test_a_file_that_is_not_ours(tmp_path, metadata):
    path = tmp_path / "field.parquet"
    pq.write_table(pa.table({"ra": [1.0]}).replace_schema_metadata(metadata), path)
    with pytest.raises(CatalogError, match="does not tell its run"):
        read_provenance(path)
