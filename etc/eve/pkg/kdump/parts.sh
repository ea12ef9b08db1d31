#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# What kdumpd's bill of materials (SPDX 2.3) says, in the form that EVE's build wants it:
#   parts.sh register SBOM FOLDER   each part into the APK database in FOLDER, by EVE's register-sbom-pkg.sh
#   parts.sh sources SBOM           SOURCE=VERSION of each Debian source package under the GPL or LGPL
set -eu

case $1 in
    register)
        jq -r '.packages[] | [.name, .versionInfo, .licenseConcluded, .externalRefs[0].referenceLocator] | @tsv' "$2" |
            while IFS="$(printf '\t')" read -r name version licence purl; do
                register-sbom-pkg.sh -n "$name" -v "$version" -l "$licence" -u "$purl" -o "$3"
            done
        ;;
    sources)
        jq -r '.packages[] | select(.licenseConcluded | test("GPL")) | .sourceInfo // empty' "$2" |
            sed 's/.* \([^ ]*\) \([^ ]*\)$/\1=\2/' | sort -u
        ;;
    *)
        echo "usage: parts.sh register SBOM FOLDER | parts.sh sources SBOM" >&2
        exit 2
        ;;
esac
