"""The image's bill of materials, from dpkg's and pip's own records, as SPDX 2.3."""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from email import message_from_string
from pathlib import Path
from typing import Any

# By Debian source package and by Python package: what its parts in the image are under. What is not here does
# not get in.
LICENCES = {
    "age": "BSD-3-Clause",
    "attrs": "MIT",
    "bzip2": "bzip2-1.0.6",
    "elfutils": "GPL-2.0-or-later OR LGPL-3.0-or-later",
    "expat": "MIT",
    "glibc": "LGPL-2.1-or-later",
    "idna": "BSD-3-Clause",
    "kdumpd": "Apache-2.0",
    "kexec-tools": "GPL-2.0-only",
    "libffi": "MIT",
    "libzstd": "BSD-3-Clause",
    "lzo2": "GPL-2.0-or-later",
    "makedumpfile": "GPL-2.0-only",
    "openssl": "Apache-2.0",
    "outcome": "MIT OR Apache-2.0",
    "python3-defaults": "PSF-2.0",
    "python3.14": "PSF-2.0",
    "pyudev": "LGPL-2.1-or-later",
    "sniffio": "MIT OR Apache-2.0",
    "sortedcontainers": "Apache-2.0",
    "systemd": "LGPL-2.1-or-later",
    "trio": "MIT OR Apache-2.0",
    "xz-utils": "0BSD",
    "zlib": "Zlib",
}
FIELDS = "${Package} ${Version} ${Architecture} ${source:Package} ${source:Version}\n"
Json = dict[str, Any]


def owners(files: Iterable[Path]) -> list[str]:
    """The Debian packages that own these files."""
    listed = _output("dpkg", "--search", *map(str, sorted(files)))
    names = {name for line in listed.splitlines() for name in line.rpartition(": ")[0].split(", ")}
    return sorted({name.partition(":")[0] for name in names})


def document(packages: list[str], modules: Path) -> str:
    """The SPDX document: kdumpd, and what it contains."""
    rows = _output("dpkg-query", "--show", f"--showformat={FIELDS}", *packages).splitlines()
    parts = [_debian(*row.split()) for row in sorted(rows)]
    parts += [_python(file) for file in sorted(modules.glob("*.dist-info/METADATA"))]
    kdumpd = next(part for part in parts if part["name"] == "kdumpd")
    content = json.dumps(parts, sort_keys=True)
    described: Json = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": "kdumpd",
        "documentNamespace": f"urn:sha256:{hashlib.sha256(content.encode()).hexdigest()}",
        "creationInfo": {"created": _created(), "creators": ["Organization: kdumpd"]},
        "packages": parts,
        "relationships": [_relation("SPDXRef-DOCUMENT", "DESCRIBES", kdumpd)]
        + [_relation(kdumpd["SPDXID"], "CONTAINS", part) for part in parts if part is not kdumpd],
    }
    return json.dumps(described, indent=1) + "\n"


def _debian(name: str, version: str, architecture: str, source: str, source_version: str) -> Json:
    purl = f"pkg:deb/debian/{name}@{version.replace(':', '%3A')}?arch={architecture}"
    note = f"built from Debian source package {source} {source_version}"
    return _package(name, version, LICENCES[source], purl) | {"sourceInfo": note}


def _python(metadata: Path) -> Json:
    fields = message_from_string(metadata.read_text())
    name, version = fields["Name"], fields["Version"]
    return _package(name, version, LICENCES[name], f"pkg:pypi/{name}@{version}")


def _package(name: str, version: str, licence: str, purl: str) -> Json:
    reference = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}
    return {
        "SPDXID": "SPDXRef-" + "".join(char if char.isalnum() else "-" for char in name),
        "name": name,
        "versionInfo": version,
        "licenseConcluded": licence,
        "licenseDeclared": licence,
        "copyrightText": "NOASSERTION",
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "externalRefs": [reference],
    }


def _relation(one: str, kind: str, other: Json) -> Json:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other["SPDXID"]}


def _created() -> str:
    return datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC).strftime("%FT%TZ")


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
