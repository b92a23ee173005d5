"""Services of published catalogs on this machine, answering in the formats of the real ones.

TAP answers are VOTables as DALI and TAP 1.1 describe them (TAPVizieR: TABLEDATA here; the Gaia
archive: BINARY2 and UWS jobs), the SkyServer's are its CSV. Every object is invented and lies
nowhere near a cluster.
"""

import base64
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

ROOT = '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">'
VIZIER_FIELDS = """
<FIELD name="recno" datatype="int" ucd="meta.record"><DESCRIPTION>Record</DESCRIPTION></FIELD>
<FIELD name="Seq" datatype="short" ucd="meta.id;meta.main"/>
<FIELD name="objID" datatype="long" ucd="meta.id"><VALUES null="-9223372036854775808"/></FIELD>
<FIELD name="RAJ2000" datatype="double" unit="deg" ucd="pos.eq.ra;meta.main"/>
<FIELD name="DEJ2000" datatype="double" unit="deg" ucd="pos.eq.dec;meta.main"/>
<FIELD name="rmag" datatype="float" unit="mag" ucd="phot.mag;em.opt.R"/>
<FIELD name="z" datatype="double" ucd="src.redshift"/>
<FIELD name="e_z" datatype="double" ucd="stat.error;src.redshift"/>
<FIELD name="Mm" datatype="short" ucd="meta.code"/>
"""
VIZIER_ROWS = [
    (1, 1, 1237661068164038656, 10.5, -20.25, 17.25, 0.0171, 0.0001, 1),
    (2, 2, "", 10.75, -20.5, "", 0.0512, 0.0002, 0),
    (3, 3, 1237661068164038658, 11.0, -20.75, 16.5, 0.0182, "", 1),
]


def votable(fields, rows, *, table="result", before="", after=""):
    """A TAP answer, its rows as text; ``after`` stands behind the table, as an overflow does."""
    cells = "".join(
        "<TR>" + "".join(f"<TD>{cell}</TD>" for cell in row) + "</TR>\n" for row in rows
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
{ROOT}
<RESOURCE type="results">
<INFO name="QUERY_STATUS" value="OK"/>
<INFO name="PROVIDER" value="CDS">Strasbourg astronomical Data Center (CDS)</INFO>
{before}<TABLE name="{table}">{fields}<DATA><TABLEDATA>
{cells}</TABLEDATA></DATA></TABLE>
{after}</RESOURCE>
</VOTABLE>
""".encode()


def refusal(message):
    """What a TAP service says of a query that it will not carry out (DALI 1.1, 4.4)."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
{ROOT}
<RESOURCE type="results"><INFO name="QUERY_STATUS" value="ERROR">{message}</INFO></RESOURCE>
</VOTABLE>
""".encode()


def tables(*names):
    """An answer from TAP_SCHEMA; VizieR's names stand in quotation marks there."""
    field = '<FIELD name="table_name" datatype="char" arraysize="*"/>'
    return votable(field, [(f"&quot;{name}&quot;",) for name in names])


def gaia(columns, rows):
    """An answer of the Gaia archive: BINARY2, of which each row begins with its null flags."""
    codes = {"long": "q", "double": "d", "float": "f"}
    fields = "".join(
        f'<FIELD datatype="{kind}" name="{name}"{f" unit={unit!r}" if unit else ""}/>'
        for name, kind, unit in columns
    )
    stream = b""
    for row in rows:
        flags = "".join("1" if value is None else "0" for value in row)
        flags = flags.ljust(-(-len(flags) // 8) * 8, "0")
        stream += int(flags, 2).to_bytes(len(flags) // 8, "big")
        for (_, kind, _), value in zip(columns, row, strict=True):
            stream += struct.pack(">" + codes[kind], 0 if value is None else value)
    return f"""<?xml version="1.0"?>
{ROOT}
<RESOURCE type="results"><INFO name="QUERY_STATUS" value="OK"/>
<COOSYS ID="GAIADR3" epoch="J2016.0" system="ICRS"/>
<TABLE>{fields}<DATA><BINARY2><STREAM encoding='base64'>
{base64.encodebytes(stream).decode()}</STREAM></BINARY2></DATA></TABLE></RESOURCE></VOTABLE>
""".encode()


def job(address, phase, error=""):
    """A job as UWS 1.1 describes it."""
    ends = f'<uws:result id="result" xlink:href="{address}/results/result"/>'
    results = ends if phase == "COMPLETED" else ""
    summary = (
        f'<uws:errorSummary type="fatal" hasDetail="true"><uws:message>{error}</uws:message>'
        "</uws:errorSummary>"
        if error
        else ""
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<uws:job xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0" xmlns:xlink="http://www.w3.org/1999/xlink"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" version="1.1">
<uws:jobId>1</uws:jobId><uws:ownerId xsi:nil="true"/><uws:phase>{phase}</uws:phase>
<uws:quote xsi:nil="true"/><uws:startTime xsi:nil="true"/><uws:endTime xsi:nil="true"/>
<uws:executionDuration>0</uws:executionDuration><uws:destruction xsi:nil="true"/>
<uws:parameters/><uws:results>{results}</uws:results>{summary}</uws:job>
""".encode()


class CatalogService:
    """A server on a free port of this machine; tests say what it answers and see what was asked."""

    def __init__(self):
        self.answer, self.status, self.kind = b"", 200, "application/x-votable+xml"
        self.schema = tables()
        self.cut_at = None
        """Bytes after which an answer breaks off, though its length was announced whole."""
        self.phases, self.job_error = ["EXECUTING", "COMPLETED"], ""
        self.silent = threading.Event()
        """Set: no answer comes, until the server closes."""
        self.closing = threading.Event()
        self.asked, self.deleted = [], 0
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self):
        self.closing.set()
        self.http.shutdown()
        self.http.server_close()


def _handler(service):  # noqa: C901 - one method for each verb of HTTP
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def words(self):
            length = int(self.headers.get("Content-Length", 0))
            words = parse_qs(self.rfile.read(length).decode())
            return {k.upper(): v[0] for k, v in {**words, **parse_qs(self.url.query)}.items()}

        def send(self, body, status=200, kind="text/xml"):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: service.cut_at])

        def see_other(self, address):
            self.send_response(303)
            self.send_header("Location", address)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self):
            self.url = urlsplit(self.path)
            words, home = self.words(), f"{service.address}/tap/async/1"
            if service.silent.is_set():
                service.closing.wait()
            elif self.url.path == "/tap/async":
                service.asked.append(words["QUERY"])
                self.see_other(home)
            elif self.url.path.endswith("/phase"):
                self.see_other(home)
            elif "TAP_SCHEMA" in words["QUERY"]:
                self.send(service.schema)
            else:
                service.asked.append(words["QUERY"])
                self.send(service.answer, service.status, service.kind)

        def do_GET(self):
            self.url = urlsplit(self.path)
            if service.silent.is_set():
                service.closing.wait()
            elif self.url.path == "/tap/async/1":
                phase = service.phases[0] if len(service.phases) == 1 else service.phases.pop(0)
                address = f"{service.address}{self.url.path}"
                self.send(job(address, phase, service.job_error))
            elif self.url.path.startswith("/dr"):
                service.asked.append(self.words()["CMD"])
                self.send(service.answer, service.status, service.kind)
            elif self.url.path == "/tap/sync":
                self.do_POST()
            else:
                self.send(service.answer, service.status, service.kind)

        def do_DELETE(self):
            service.deleted += 1
            self.see_other(f"{service.address}/tap/async")

    return Handler
