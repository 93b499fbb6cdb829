#!/usr/bin/env python3
"""Opens a lake with PyIceberg and DuckDB and says whether both agree with it.

PyIceberg opens tables by name, through the lake's SQL catalog; DuckDB opens the
metadata file that the catalog names. stdout is data (JSON), stderr is talk, and
the exit code is 0 (fine), 1 (the engines disagree, the table breaks the Iceberg
specification, or it cannot be read) or 2 (wrong usage).
"""

import argparse
import datetime as dt
import decimal
import importlib
import json
import math
import os
import pathlib
import sys
import uuid
from collections import Counter
from functools import cache

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg import types as it
from pyiceberg.avro.file import AvroFile
from pyiceberg.catalog import load_catalog
from pyiceberg.conversions import from_bytes
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.expressions import EqualTo
from pyiceberg.io.pyarrow import pyarrow_to_schema
from pyiceberg.manifest import DataFileContent, ManifestContent, ManifestEntryStatus, read_manifest_list
from pyiceberg.schema import index_by_id, index_name_by_id

ADDED, EXISTING, DELETED = ManifestEntryStatus.ADDED, ManifestEntryStatus.EXISTING, ManifestEntryStatus.DELETED

# Field ids that the specification reserves for the columns of position delete files.
DELETE_FILE_PATH, DELETE_FILE_POS = 2147483546, 2147483545


class Failure(Exception):
    """Something to tell the user in a line or several, without a traceback."""


# --- opening the lake -------------------------------------------------------


def open_catalog(args):
    uri = args.catalog
    if uri.startswith(("postgres://", "postgresql://")):
        uri = "postgresql+psycopg2://" + uri.split("://", 1)[1]
    if uri.startswith("sqlite:///") and not pathlib.Path(uri.removeprefix("sqlite:///")).is_file():
        raise Failure(f"no catalog at {uri}")
    # A checker must not create the catalog's tables, or a wrong URI would pass for an empty lake.
    return load_catalog(
        args.name, type="sql", uri=uri, warehouse=args.warehouse, init_catalog_tables="false", **stand_in()
    )


def stand_in():
    """Where S3 is a stand-in, as the AWS SDKs are told by the environment; PyIceberg asks for properties."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        return {}
    return {
        "s3.endpoint": endpoint,
        "s3.region": os.environ["AWS_REGION"],
        "s3.access-key-id": os.environ["AWS_ACCESS_KEY_ID"],
        "s3.secret-access-key": os.environ["AWS_SECRET_ACCESS_KEY"],
        "s3.force-virtual-addressing": "false",
    }


def open_table(args):
    try:
        return open_catalog(args).load_table(args.table)
    except NoSuchTableError as error:
        raise Failure(f"catalog {args.name!r} has no table {args.table!r}") from error


def open_duckdb():
    """A connection with the Iceberg extension, loaded from its wheel: no network."""
    db = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    for name in ("avro", "httpfs", "iceberg"):
        package = pathlib.Path(importlib.import_module(f"duckdb_extension_{name}").__file__).parent
        extension = package / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
        if not extension.is_file():
            raise Failure(f"no DuckDB extension at {extension}: run install.sh again")
        db.execute(f"LOAD '{extension}'")
    db.execute("SET TimeZone = 'UTC'")
    if s3 := stand_in():
        scheme, host = s3["s3.endpoint"].split("://", 1)
        db.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID '{s3['s3.access-key-id']}', SECRET '{s3['s3.secret-access-key']}',"
            f" REGION '{s3['s3.region']}', ENDPOINT '{host}', URL_STYLE 'path', USE_SSL {scheme == 'https'})"
        )
    return db


# --- reading with both engines ----------------------------------------------


def text(value, kind):
    """One value as text that does not depend on the engine that read it."""
    if value is None:
        return None
    if isinstance(kind, it.StructType):
        return json.dumps({f.name: text(value[f.name], f.field_type) for f in kind.fields})
    if isinstance(kind, it.ListType):
        return json.dumps([text(v, kind.element_type) for v in value])
    if isinstance(kind, it.MapType):
        pairs = value.items() if isinstance(value, dict) else value
        return json.dumps(sorted([text(k, kind.key_type), text(v, kind.value_type)] for k, v in pairs))
    if isinstance(kind, it.BooleanType):
        return "true" if value else "false"
    if isinstance(kind, it.DecimalType):
        return f"{value:.{kind.scale}f}"
    if isinstance(kind, it.TimestamptzType):
        return value.astimezone(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(kind, it.TimestampType):
        return value.isoformat(timespec="microseconds")
    if isinstance(kind, it.TimeType):
        return value.isoformat(timespec="microseconds")
    if isinstance(kind, it.UUIDType):
        return str(uuid.UUID(bytes=value) if isinstance(value, bytes) else value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return repr(value)
    return str(value)


def text_rows(arrow, schema):
    columns = [
        [text(value, schema.find_field(name).field_type) for value in arrow.column(name).to_pylist()]
        for name in arrow.column_names
    ]
    return list(zip(*columns, strict=True))


def extra(left, right, limit=5):
    """What `left` holds more often than `right`, shortened for a message."""
    more = Counter(left) - Counter(right)
    shown = [f"{value!r} x{count}" for value, count in more.most_common(limit)]
    return ", ".join(shown) + (f", and {len(more) - limit} more" if len(more) > limit else "") or "nothing"


def disagreement(columns, ours, theirs):
    """How the rows of PyIceberg and DuckDB differ as multisets, or None."""
    if Counter(ours) == Counter(theirs):
        return None
    lines = [f"rows: pyiceberg {len(ours)}, duckdb {len(theirs)}"]
    for index, column in enumerate(columns):
        left, right = [row[index] for row in ours], [row[index] for row in theirs]
        if Counter(left) != Counter(right):
            lines.append(f"column {column}: only pyiceberg: {extra(left, right)}; only duckdb: {extra(right, left)}")
    lines.append(f"whole rows: only pyiceberg: {extra(ours, theirs, 3)}; only duckdb: {extra(theirs, ours, 3)}")
    return "pyiceberg and duckdb disagree\n  " + "\n  ".join(lines)


def read(args):
    table, db = open_table(args), open_duckdb()
    if args.snapshot is not None and table.snapshot_by_id(args.snapshot) is None:
        raise Failure(f"{args.table} has no snapshot {args.snapshot}")

    scan = table.scan(snapshot_id=args.snapshot)
    schema = scan.projection()
    by_pyiceberg = scan.to_arrow()

    metadata = table.metadata_location.replace("'", "''")
    pinned = f", snapshot_from_id = {args.snapshot}" if args.snapshot is not None else ""
    source = f"iceberg_scan('{metadata}'{pinned})"
    try:
        by_duckdb = db.execute(f"SELECT * FROM {source}").to_arrow_table()
        counted = db.execute(f"SELECT count(*) FROM {source}").fetchone()[0]
        duckdb_snapshots = sorted(
            id for (id,) in db.execute(f"SELECT snapshot_id FROM iceberg_snapshots('{metadata}')").fetchall()
        )
    except duckdb.Error as error:
        raise Failure(f"duckdb cannot read {table.metadata_location}: {error}") from error

    columns = by_pyiceberg.column_names
    if columns != by_duckdb.column_names:
        raise Failure(f"columns: pyiceberg {columns}, duckdb {by_duckdb.column_names}")
    rows = text_rows(by_pyiceberg, schema)
    if problem := disagreement(columns, rows, text_rows(by_duckdb, schema)):
        raise Failure(problem)
    if counted != len(rows):
        raise Failure(f"duckdb's count(*) is {counted}, but both engines read {len(rows)} rows")

    snapshots = sorted(table.metadata.snapshots, key=lambda s: (s.sequence_number, s.timestamp_ms))
    pyiceberg_snapshots = sorted(s.snapshot_id for s in snapshots)
    if pyiceberg_snapshots != duckdb_snapshots:
        raise Failure(f"snapshot ids: pyiceberg {pyiceberg_snapshots}, duckdb {duckdb_snapshots}")

    return {
        "columns": columns,
        "rows": sorted(rows, key=lambda row: [(value is not None, value or "") for value in row]),
        "snapshots": [
            {
                "id": s.snapshot_id,
                "parent": s.parent_snapshot_id,
                "sequence": s.sequence_number,
                "operation": s.summary.operation.value if s.summary else None,
                "summary": dict(s.summary.additional_properties) if s.summary else {},
            }
            for s in snapshots
        ],
        "duckdb_snapshots": duckdb_snapshots,
        "properties": dict(table.properties),
    }


def find(args):
    """How many rows have a text in a column, by each engine with a filter: files are skipped by their bounds."""
    table, db = open_table(args), open_duckdb()
    metadata = table.metadata_location.replace("'", "''")
    by_pyiceberg = table.scan(row_filter=EqualTo(args.column, args.value)).to_arrow().num_rows
    query = f"SELECT count(*) FROM iceberg_scan('{metadata}') WHERE \"{args.column}\" = ?"
    return {"pyiceberg": by_pyiceberg, "duckdb": db.execute(query, [args.value]).fetchone()[0]}


def tables(args):
    catalog = open_catalog(args)

    def namespaces(parent=()):
        for namespace in catalog.list_namespaces(parent):
            yield namespace
            yield from namespaces(namespace)

    found = {".".join(table) for namespace in namespaces() for table in catalog.list_tables(namespace)}
    return sorted(found)


# --- writing as a foreign engine --------------------------------------------


def parsed(value, kind):
    """A JSON value as the Python value that Arrow wants for an Iceberg type."""
    if value is None:
        return None
    if isinstance(kind, (it.TimestampType, it.TimestamptzType)):
        moment = dt.datetime.fromisoformat(value)
        if isinstance(kind, it.TimestamptzType):
            return moment if moment.tzinfo else moment.replace(tzinfo=dt.timezone.utc)
        return moment
    if isinstance(kind, it.DateType):
        return dt.date.fromisoformat(value)
    if isinstance(kind, it.TimeType):
        return dt.time.fromisoformat(value)
    if isinstance(kind, it.DecimalType):
        return decimal.Decimal(str(value))
    if isinstance(kind, (it.FloatType, it.DoubleType)):
        return float(value)
    if isinstance(kind, it.UUIDType):
        return uuid.UUID(value).bytes
    if isinstance(kind, (it.BinaryType, it.FixedType)):
        return bytes.fromhex(value)
    if isinstance(kind, it.StructType):
        return {f.name: parsed(value.get(f.name), f.field_type) for f in kind.fields}
    if isinstance(kind, it.ListType):
        return [parsed(v, kind.element_type) for v in value]
    return value


def append(args):
    table = open_table(args)
    schema = table.schema()
    objects = json.loads(pathlib.Path(args.json).read_text(), parse_float=decimal.Decimal)
    if unknown := {key for row in objects for key in row} - {field.name for field in schema.fields}:
        raise Failure(f"{args.json}: {args.table} has no columns {sorted(unknown)}")
    rows = [{f.name: parsed(row.get(f.name), f.field_type) for f in schema.fields} for row in objects]
    table.append(pa.Table.from_pylist(rows, schema=schema.as_arrow()))
    return table.current_snapshot().snapshot_id


def delete_where(args):
    table = open_table(args)
    before = table.current_snapshot()
    table.delete(delete_filter=args.filter)
    after = table.current_snapshot()
    if after == before:
        raise Failure(f"no row of {args.table} matches {args.filter!r}: no snapshot was made")
    return after.snapshot_id


def expire(args):
    table = open_table(args)
    current = table.current_snapshot()
    ids = sorted(s.snapshot_id for s in table.metadata.snapshots if s != current)
    if ids:
        table.maintenance.expire_snapshots().by_ids(ids).commit()
    left = {s.snapshot_id for s in open_table(args).metadata.snapshots}
    if still := sorted(left & set(ids)):
        raise Failure(f"snapshots {still} are still there after expiry")
    return ids


# --- checking manifests against the specification ---------------------------


def internal(array, kind):
    """An Arrow column as the specification's single values: days, microseconds, bytes."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if isinstance(kind, it.DateType):
        return array.cast(pa.int32())
    if isinstance(kind, it.TimeType):
        return array.cast(pa.time64("us")).cast(pa.int64())
    if isinstance(kind, (it.TimestampType, it.TimestamptzType)):
        return array.cast(pa.timestamp("us", tz=array.type.tz)).cast(pa.int64())
    if pa.types.is_fixed_size_binary(array.type):
        return array.cast(pa.binary())
    return array


def leaves(array, field):
    """The primitive columns of a column, structs opened up; lists and maps carry no bounds."""
    if isinstance(field.field_type, it.StructType):
        struct = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        for child, nested in zip(struct.flatten(), field.field_type.fields, strict=True):
            yield from leaves(child, nested)
    elif field.field_type.is_primitive:
        yield field, internal(array, field.field_type)


class ParquetFile:
    """What a Parquet file really holds, read once per file."""

    def __init__(self, io, path):
        self.size = len(io.new_input(path))
        with io.new_input(path).open() as stream:
            file = pq.ParquetFile(stream)
            self.footer_rows = file.metadata.num_rows
            self.ids, self.without_id = {}, []
            self._walk(file.schema_arrow)
            self.columns, self.types = {}, {}
            if self.without_id:
                return
            schema = pyarrow_to_schema(file.schema_arrow)
            self.types = {id: f.field_type for id, f in index_by_id(schema).items() if f.field_type.is_primitive}
            content = file.read()
        self.rows = content.num_rows
        for column, field in zip(content.columns, schema.fields, strict=True):
            for leaf, array in leaves(column, field):
                self.columns[leaf.field_id] = array

    def _walk(self, fields, prefix=""):
        for field in fields:
            id = (field.metadata or {}).get(b"PARQUET:field_id")
            name = prefix + field.name
            if id is None:
                self.without_id.append(name)
            else:
                self.ids[int(id)] = name
            kind = field.type
            if pa.types.is_struct(kind):
                self._walk([kind.field(i) for i in range(kind.num_fields)], name + ".")
            elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
                self._walk([kind.value_field], name + ".")
            elif pa.types.is_map(kind):
                self._walk([kind.key_field, kind.item_field], name + ".")

    @cache
    def min_max(self, id):
        array = self.columns[id]
        if pa.types.is_floating(array.type):
            array = array.filter(pc.invert(pc.is_nan(array)))
        found = pc.min_max(array)
        return found["min"].as_py(), found["max"].as_py()


def bound(kind, raw):
    """A bound, read with the type it was written with before a promotion of the column."""
    if isinstance(kind, it.LongType) and len(raw) == 4:
        kind = it.IntegerType()
    if isinstance(kind, it.DoubleType) and len(raw) == 4:
        kind = it.FloatType()
    value = from_bytes(kind, raw)
    return value.bytes if isinstance(value, uuid.UUID) else value


class Verification:
    """Walks every snapshot of a table and collects what breaks the specification."""

    def __init__(self, table):
        self.table, self.io = table, table.io
        self.snapshots = {s.snapshot_id: s for s in table.metadata.snapshots}
        self.specs = table.specs()
        # Ids are never reused, so a file may hold any column the table ever had, by any name it had.
        self.names, self.types = {}, {}
        for schema in table.schemas().values():
            for id, name in index_name_by_id(schema).items():
                self.names.setdefault(id, set()).add(name)
            for id, field in index_by_id(schema).items():
                self.types.setdefault(id, []).append(field.field_type)
        self.violations = {}  # an ordered set
        self.manifests, self.files, self.checked, self.deletions = {}, {}, set(), []

    def expect(self, condition, message):
        if not condition:
            self.violations[message] = None

    def run(self):
        live = {}
        for snapshot in sorted(self.snapshots.values(), key=lambda s: s.sequence_number):
            live[snapshot.snapshot_id] = self.snapshot(snapshot)
        self.deleted_positions()
        current = self.table.current_snapshot()
        return {
            "table": ".".join(self.table.name()),
            "format_version": self.table.metadata.format_version,
            "snapshots": len(self.snapshots),
            "manifests": len(self.manifests),
            "files": len(self.files),
            "live": live[current.snapshot_id] if current else {},
            "violations": list(self.violations),
        }

    # A snapshot: its manifests, its summary.

    def snapshot(self, snapshot):
        where = f"snapshot {snapshot.snapshot_id}"
        parent = self.snapshots.get(snapshot.parent_snapshot_id)
        if parent is not None:
            self.expect(
                parent.sequence_number < snapshot.sequence_number,
                f"{where}: sequence number {snapshot.sequence_number} is not above its parent's {parent.sequence_number}",
            )
        self.expect(
            snapshot.sequence_number <= self.table.metadata.last_sequence_number,
            f"{where}: sequence number {snapshot.sequence_number} is above the table's last",
        )
        try:
            # Not `snapshot.manifests()`: its cache would hide a list that differs from an earlier one.
            manifests = list(read_manifest_list(self.io.new_input(snapshot.manifest_list)))
        except Exception as error:
            self.expect(False, f"{where}: manifest list {snapshot.manifest_list} cannot be read: {error}")
            return {}

        live, added, deleted = Tally(), Tally(), Tally()
        seen = {}
        for manifest in manifests:
            self.expect(
                manifest.sequence_number <= snapshot.sequence_number,
                f"{where}: manifest {manifest.manifest_path} has sequence number {manifest.sequence_number}, "
                f"above the snapshot's {snapshot.sequence_number}",
            )
            for entry in self.manifest(manifest):
                path, own = entry.data_file.file_path, manifest.added_snapshot_id == snapshot.snapshot_id
                if entry.status == DELETED:
                    if own:
                        deleted.add(entry.data_file)
                    continue
                self.expect(path not in seen, f"{where}: {path} is live in {seen.get(path)} and {manifest.manifest_path}")
                seen[path] = manifest.manifest_path
                live.add(entry.data_file)
                if entry.status == ADDED and own:
                    added.add(entry.data_file)
        self.summary(where, snapshot.summary, live, added, deleted)
        return live.totals()

    def summary(self, where, summary, live, added, deleted):
        self.expect(summary is not None, f"{where}: no summary")
        if summary is None:
            return
        for key, count in live.totals().items():
            required = key in ("total-records", "total-data-files", "total-files-size")
            said = summary[key]
            if said is not None or required or count:
                self.expect(said == str(count), f"{where}: summary {key} is {said}, the live entries give {count}")
        for key, count in (added.changes("added", "added") | deleted.changes("deleted", "removed")).items():
            said = summary[key]
            if said is not None:
                self.expect(said == str(count), f"{where}: summary {key} is {said}, the entries give {count}")
        operation = summary.operation.value
        if operation == "append":
            self.expect(deleted.files == 0 and added.delete_files == 0, f"{where}: an append removes rows or files")
        if operation == "delete":
            self.expect(added.data_files == 0, f"{where}: a delete adds data files")

    # A manifest: its entries, and what the list says about them.

    def manifest(self, manifest):
        entries = self.manifests.get(manifest.manifest_path)
        if entries is None:
            try:
                entries = manifest.fetch_manifest_entry(self.io, discard_deleted=False)
            except Exception as error:
                self.expect(False, f"manifest {manifest.manifest_path} cannot be read: {error}")
                return []
            self.manifests[manifest.manifest_path] = entries
            self.manifest_header(manifest)
            for entry in entries:
                self.entry(manifest, entry)
        self.manifest_counts(manifest, entries)
        self.partition_summaries(manifest, entries)
        return entries

    def manifest_header(self, manifest):
        where = f"manifest {manifest.manifest_path}"
        with AvroFile(self.io.new_input(manifest.manifest_path)) as avro:
            header = avro.header.meta
        for key in ("schema", "partition-spec", "partition-spec-id", "format-version", "content"):
            self.expect(key in header, f"{where}: no {key!r} in the Avro header")
        content = "data" if manifest.content == ManifestContent.DATA else "deletes"
        self.expect(
            header.get("content", content) == content,
            f"{where}: the Avro header says content {header.get('content')!r}, the list {content!r}",
        )
        self.expect(
            header.get("partition-spec-id", str(manifest.partition_spec_id)) == str(manifest.partition_spec_id),
            f"{where}: the Avro header says partition spec {header.get('partition-spec-id')}, "
            f"the list {manifest.partition_spec_id}",
        )
        self.expect(
            manifest.partition_spec_id in self.specs,
            f"{where}: partition spec {manifest.partition_spec_id} is not one of the table's",
        )

    def manifest_counts(self, manifest, entries):
        where = f"manifest {manifest.manifest_path}"
        length = len(self.io.new_input(manifest.manifest_path))
        self.expect(manifest.manifest_length == length, f"{where}: length {manifest.manifest_length}, the file has {length}")
        for status, name in ((ADDED, "added"), (EXISTING, "existing"), (DELETED, "deleted")):
            rows = [e.data_file.record_count for e in entries if e.status == status]
            for kind, count in (("files", len(rows)), ("rows", sum(rows))):
                said = getattr(manifest, f"{name}_{kind}_count")
                self.expect(said == count, f"{where}: {name}_{kind}_count is {said}, the entries give {count}")
        alive = [e.sequence_number for e in entries if e.status != DELETED and e.sequence_number is not None]
        if alive:
            self.expect(
                manifest.min_sequence_number == min(alive),
                f"{where}: min_sequence_number is {manifest.min_sequence_number}, the live entries give {min(alive)}",
            )
        adder = self.snapshots.get(manifest.added_snapshot_id)
        if adder is not None:
            self.expect(
                manifest.sequence_number == adder.sequence_number,
                f"{where}: sequence number {manifest.sequence_number}, but snapshot {adder.snapshot_id}, "
                f"which added it, has {adder.sequence_number}",
            )

    def partition_summaries(self, manifest, entries):
        where, spec = f"manifest {manifest.manifest_path}", self.specs.get(manifest.partition_spec_id)
        if spec is None or manifest.partitions is None or not entries:
            return
        kinds = [field.field_type for field in self.partition_type(spec)]
        self.expect(
            len(manifest.partitions) == len(kinds),
            f"{where}: {len(manifest.partitions)} partition summaries for {len(kinds)} partition fields",
        )
        for index, (field, kind, said) in enumerate(zip(spec.fields, kinds, manifest.partitions)):
            values = [e.data_file.partition[index] for e in entries]
            known = [comparable(v) for v in values if v is not None and v == v]
            self.expect(
                said.contains_null or len([v for v in values if v is None]) == 0,
                f"{where}: partition {field.name} holds nulls, its summary denies it",
            )
            if known:
                low = bound(kind, said.lower_bound) if said.lower_bound is not None else None
                high = bound(kind, said.upper_bound) if said.upper_bound is not None else None
                self.expect(
                    (low is None or low <= min(known)) and (high is None or high >= max(known)),
                    f"{where}: partition {field.name} spans {min(known)!r} to {max(known)!r}, "
                    f"its summary {low!r} to {high!r}",
                )

    def partition_type(self, spec):
        for schema in [self.table.schema(), *self.table.schemas().values()]:
            if all(field.source_id in index_by_id(schema) for field in spec.fields):
                return spec.partition_type(schema).fields
        return []

    # An entry: its status and numbers, and the file it names.

    def entry(self, manifest, entry):
        file = entry.data_file
        where = f"manifest {manifest.manifest_path}: {entry.status.name} {file.file_path}"
        is_data = file.content == DataFileContent.DATA
        self.expect(
            is_data == (manifest.content == ManifestContent.DATA),
            f"{where}: a {file.content.name} file in a {manifest.content.name} manifest",
        )
        self.expect(
            entry.sequence_number is not None and entry.file_sequence_number is not None,
            f"{where}: sequence numbers {entry.sequence_number}, {entry.file_sequence_number} (data, file) must not be null",
        )
        if entry.sequence_number is not None and entry.file_sequence_number is not None:
            self.expect(
                entry.sequence_number <= entry.file_sequence_number <= manifest.sequence_number,
                f"{where}: sequence numbers {entry.sequence_number}, {entry.file_sequence_number} (data, file) "
                f"do not rise to the manifest's {manifest.sequence_number}",
            )
        if entry.status == EXISTING:
            # PyIceberg fills a null snapshot id with the manifest's, so this finds nulls as well.
            self.expect(
                entry.snapshot_id != manifest.added_snapshot_id,
                f"{where}: an existing file must keep the id of the snapshot that added it",
            )
            origin = self.snapshots.get(entry.snapshot_id)
            if origin is not None:
                self.expect(
                    entry.file_sequence_number == origin.sequence_number,
                    f"{where}: file sequence number {entry.file_sequence_number}, but snapshot {origin.snapshot_id}, "
                    f"which added it, has {origin.sequence_number}",
                )
        else:
            self.expect(
                entry.snapshot_id == manifest.added_snapshot_id,
                f"{where}: snapshot id {entry.snapshot_id}, the manifest was added by {manifest.added_snapshot_id}",
            )
        if entry.status == ADDED:
            self.expect(
                entry.file_sequence_number == manifest.sequence_number,
                f"{where}: file sequence number {entry.file_sequence_number}, the manifest's is {manifest.sequence_number}",
            )
        if entry.status != DELETED:
            self.file(file)

    def file(self, file):
        """Checks one entry's claims; two entries of one file are both checked, the file is read once."""
        claims = repr(file)
        if claims in self.checked:
            return
        self.checked.add(claims)
        where = f"file {file.file_path}"
        if file.file_path not in self.files:
            try:
                self.files[file.file_path] = ParquetFile(self.io, file.file_path)
            except Exception as error:
                self.files[file.file_path] = None
                self.expect(False, f"{where}: cannot be read: {error}")
        real = self.files[file.file_path]
        if real is None:
            return
        self.expect(
            real.size == file.file_size_in_bytes, f"{where}: file_size_in_bytes {file.file_size_in_bytes}, it has {real.size}"
        )
        self.expect(
            real.footer_rows == file.record_count,
            f"{where}: record_count {file.record_count}, the footer says {real.footer_rows}",
        )
        self.expect(not real.without_id, f"{where}: columns without PARQUET:field_id: {real.without_id}")
        if real.without_id:
            return
        self.field_ids(where, file, real)
        self.metrics(where, file, real)
        if file.content == DataFileContent.DATA:
            self.partition(where, file, real)
        if file.content == DataFileContent.POSITION_DELETES:
            self.position_deletes(where, real)

    def field_ids(self, where, file, real):
        if file.content == DataFileContent.POSITION_DELETES:
            wanted = {DELETE_FILE_PATH: "file_path", DELETE_FILE_POS: "pos"}
            self.expect(
                wanted.items() <= real.ids.items(),
                f"{where}: columns {real.ids}, a position delete file has {wanted}",
            )
            return
        for id, name in real.ids.items():
            known = self.names.get(id)
            self.expect(known is not None, f"{where}: column {name} has field id {id}, which the table never had")
            if known is None or id not in real.types:
                continue
            self.expect(
                name.split(".")[-1] in {n.split(".")[-1] for n in known},
                f"{where}: field id {id} is column {name}, in the table {sorted(known)}",
            )
            self.expect(
                any(same_storage(real.types[id], kind) for kind in self.types[id]),
                f"{where}: column {name} is {real.types[id]}, in the table {[str(k) for k in self.types[id]]}",
            )

    def metrics(self, where, file, real):
        for metric in ("column_sizes", "value_counts", "null_value_counts", "nan_value_counts", "lower_bounds", "upper_bounds"):
            unknown = sorted(set(getattr(file, metric) or {}) - set(real.ids))
            self.expect(not unknown, f"{where}: {metric} of field ids {unknown}, which the file does not have")
        for id, array in real.columns.items():
            column = f"{where}: column {real.ids[id]}"
            facts = {"value_counts": len(array), "null_value_counts": array.null_count}
            if pa.types.is_floating(array.type):
                facts["nan_value_counts"] = pc.sum(pc.is_nan(array)).as_py() or 0
            for metric, count in facts.items():
                said = (getattr(file, metric) or {}).get(id)
                self.expect(said is None or said == count, f"{column}: {metric} {said}, it has {count}")
            self.bounds(column, file, real, id)

    def bounds(self, column, file, real, id):
        lowest, highest = real.min_max(id)
        if lowest is None:
            return
        kind = real.types[id]
        for name, holds in (("lower_bounds", lambda b: b <= lowest), ("upper_bounds", lambda b: b >= highest)):
            raw = (getattr(file, name) or {}).get(id)
            if raw is None:
                continue
            try:
                value = bound(kind, raw)
            except Exception as error:
                self.expect(False, f"{column}: {name} {raw!r} is no {kind}: {error}")
                continue
            nan = isinstance(value, float) and math.isnan(value)
            self.expect(
                not nan and holds(value), f"{column}: {name} {value!r} does not hold {lowest!r} to {highest!r}"
            )

    def partition(self, where, file, real):
        spec = self.specs.get(file.spec_id)
        for index, field in enumerate(spec.fields if spec else []):
            if field.source_id not in real.columns:
                continue
            transform = field.transform.transform(real.types[field.source_id])
            values = {transform(v) for v in pc.unique(real.columns[field.source_id]).to_pylist()}
            said = comparable(file.partition[index])
            self.expect(
                {comparable(v) for v in values} <= {said},
                f"{where}: partition {field.name} is {said!r}, its rows give {sorted(values, key=repr)[:5]}",
            )

    def position_deletes(self, where, real):
        if not {DELETE_FILE_PATH, DELETE_FILE_POS} <= set(real.columns):
            return
        pairs = list(zip(real.columns[DELETE_FILE_PATH].to_pylist(), real.columns[DELETE_FILE_POS].to_pylist(), strict=True))
        self.expect(pairs == sorted(pairs), f"{where}: not sorted by file_path and pos")
        self.expect(len(pairs) == len(set(pairs)), f"{where}: a position is deleted twice")
        for path, pos in pairs:
            self.deletions.append((where, path, pos))

    def deleted_positions(self):
        """Last, when every data file is known; a deletion may point to a file that is gone."""
        for where, path, pos in self.deletions:
            data = self.files.get(path)
            if data is not None and not 0 <= pos < data.footer_rows:
                self.expect(False, f"{where}: deletes position {pos} of {path}, which has {data.footer_rows} rows")


class Tally:
    """Counts of data and delete files, under the names of a snapshot summary."""

    def __init__(self):
        self.files = self.size = 0
        self.data_files = self.records = self.delete_files = self.position_deletes = self.equality_deletes = 0

    def add(self, file):
        self.files += 1
        self.size += file.file_size_in_bytes
        if file.content == DataFileContent.DATA:
            self.data_files += 1
            self.records += file.record_count
            return
        self.delete_files += 1
        if file.content == DataFileContent.POSITION_DELETES:
            self.position_deletes += file.record_count
        else:
            self.equality_deletes += file.record_count

    def totals(self):
        return self.changes("total", "total")

    def changes(self, data, deletes):
        return {
            f"{data}-data-files": self.data_files,
            f"{data}-records": self.records,
            f"{deletes}-files-size": self.size,
            f"{deletes}-delete-files": self.delete_files,
            f"{deletes}-position-deletes": self.position_deletes,
            f"{deletes}-equality-deletes": self.equality_deletes,
        }


EPOCH = dt.datetime(1970, 1, 1)


def comparable(value):
    """A partition value as `internal` and `bound` give it: days, microseconds, bytes."""
    if isinstance(value, dt.datetime):
        naive = value.astimezone(dt.timezone.utc).replace(tzinfo=None) if value.tzinfo else value
        return (naive - EPOCH) // dt.timedelta(microseconds=1)
    if isinstance(value, dt.date):
        return (value - EPOCH.date()).days
    if isinstance(value, uuid.UUID):
        return value.bytes
    return value


def same_storage(in_file, in_table):
    """Whether a file's column may serve a column of the table, promotions included."""
    if in_file == in_table:
        return True
    promoted = {it.IntegerType: it.LongType, it.FloatType: it.DoubleType}
    if isinstance(in_file, it.DecimalType) and isinstance(in_table, it.DecimalType):
        return in_file.scale == in_table.scale and in_file.precision <= in_table.precision
    if isinstance(in_table, it.UUIDType):
        return in_file == it.FixedType(16)
    return promoted.get(type(in_file)) == type(in_table)


def verify_manifests(args):
    report = Verification(open_table(args)).run()
    if report["violations"]:
        print(json.dumps(report))
        raise Failure(f"{args.table}: {len(report['violations'])} violations\n  " + "\n  ".join(report["violations"]))
    return report


# --- the command line -------------------------------------------------------


def check(args):
    """Rows and violations of several tables at once: most of a call's time is the start of Python."""
    found = {}
    for table in args.tables:
        one = argparse.Namespace(**vars(args), table=table, snapshot=None)
        found[table] = {**read(one), "violations": verify_manifests(one)["violations"]}
    return found


def parse(argv):
    lake = argparse.ArgumentParser(add_help=False)
    lake.add_argument("--catalog", required=True, metavar="URI", help="sqlite:////abs/catalog.db or postgres://…")
    lake.add_argument("--name", required=True, help="the catalog's name, part of its primary key")
    lake.add_argument("--warehouse", required=True, metavar="PATH")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name, run, help):
        sub = commands.add_parser(name, parents=[lake], help=help)
        sub.set_defaults(run=run)
        if run not in (tables, check):
            sub.add_argument("table", metavar="TABLE", help="namespace.table")
        return sub

    command("read", read, "all rows, read and compared by both engines").add_argument("--snapshot", type=int, metavar="ID")
    filtered = command("find", find, "count rows by a filter, with both engines")
    filtered.add_argument("--column", required=True)
    filtered.add_argument("--value", required=True)
    command("tables", tables, "the names of all tables")
    command("append", append, "append rows with PyIceberg").add_argument("--json", required=True, metavar="FILE")
    command("delete-where", delete_where, "delete rows with PyIceberg").add_argument("--filter", required=True, metavar="EXPR")
    command("expire", expire, "expire snapshots with PyIceberg").add_argument(
        "--keep-last", action="store_true", required=True, help="all but the current one"
    )
    command("verify-manifests", verify_manifests, "check snapshots, manifests and files against the specification")
    command("check", check, "read and verify several tables").add_argument("tables", metavar="TABLE", nargs="+")
    return parser.parse_args(argv)


def main():
    args = parse(sys.argv[1:])
    try:
        print(json.dumps(args.run(args), ensure_ascii=False))
    except Failure as failure:
        print(f"check.py: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
