"""How the image is made: its Dockerfile, what goes into it, what its container may do."""

import json
import os
import re
import runpy
import subprocess
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # it comes without types

REPOSITORY = Path(__file__).parents[1]
SBOM = REPOSITORY / "scripts/image.d/sbom.py"


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Each instruction and its text, continued lines joined, comments left out."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, text) for word, _, text in (line.partition(" ") for line in joined.splitlines() if line)]


def faults(dockerfile: str) -> list[str]:
    """What hadolint would also say, as far as it can go wrong here."""
    found, stages, shell = [], {"scratch"}, ""
    for word, text in instructions(dockerfile):
        if word == "FROM":
            image, _, stage = text.partition(" AS ")
            if image not in stages and not re.search(r":(?!latest$)[\w.-]+$", image):
                found.append(f"{image} has no version")
            stages.add(stage)
            shell = shell if image in stages else ""
        if word == "SHELL":
            shell = text
        if word == "ADD":
            found.append("ADD does more than it says: COPY")
        if word in {"CMD", "ENTRYPOINT"} and not text.startswith("["):
            found.append(f"{word} runs a shell")
        if word == "RUN":
            found += _faults_of_run(text, shell)
    return found


def _faults_of_run(text: str, shell: str) -> list[str]:
    found = []
    if "apt-get install" in text and "--no-install-recommends" not in text:
        found.append("apt-get installs what is only recommended")
    if "apt-get update" in text and "rm -rf /var/lib/apt/lists/*" not in text:
        found.append("apt's lists stay in the layer")
    if re.search(r"[^|]\|[^|]", text) and "pipefail" not in shell:
        found.append("the pipe hides a failure")
    installs = re.findall(r"pip install (.*?)(?:&&|$)", text)
    pinned = re.compile("--constraint constraints.txt|--no-deps")
    found += [f"pip install without pins: {what}" for what in installs if not pinned.search(what)]
    if "sudo" in text or "curl" in text:
        found.append("sudo or curl")
    return found


def test_the_dockerfile_has_no_fault() -> None:
    assert faults((REPOSITORY / "Dockerfile").read_text()) == []


@pytest.mark.parametrize(
    ("dockerfile", "fault"),
    [
        ("FROM debian", "debian has no version"),
        ("FROM debian:latest", "debian:latest has no version"),
        ("ADD a b", "ADD does more than it says: COPY"),
        ("ENTRYPOINT kdumpd run", "ENTRYPOINT runs a shell"),
        ("RUN apt-get install --yes a", "apt-get installs what is only recommended"),
        ("RUN apt-get update", "apt's lists stay in the layer"),
        ("RUN a \\\n  | b", "the pipe hides a failure"),
        ("RUN python3 -m pip install trio", "pip install without pins: trio"),
        ("RUN curl example.invalid", "sudo or curl"),
    ],
)
def test_a_fault_is_found(dockerfile: str, fault: str) -> None:
    assert faults(dockerfile) == [fault]


def test_the_image_starts_kdumpd_run_and_says_what_it_is() -> None:
    final = instructions((REPOSITORY / "Dockerfile").read_text().rpartition("\nFROM ")[2])
    assert ("ENTRYPOINT", '["/usr/bin/kdumpd", "run"]') in final
    labels = " ".join(text for word, text in final if word == "LABEL")
    for name in ("title", "description", "licenses"):
        assert f"org.opencontainers.image.{name}=" in labels


def test_the_build_reads_what_its_cache_key_is_made_of() -> None:
    listed = (REPOSITORY / "scripts/image").read_text().partition("inputs=(")[2].partition(")")[0].split()
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!").removesuffix("/*.py") for line in ignored if line.startswith("!")}
    assert "*" in ignored
    assert allowed | {".dockerignore", "Dockerfile", "scripts/image"} == set(listed)
    assert all((REPOSITORY / name).exists() for name in listed)


def test_notice_names_the_licence_of_everything_that_may_get_in() -> None:
    notice = (REPOSITORY / "NOTICE").read_text()
    rows = dict(re.findall(r"^  (\S+) {2,}(.+?)(?: \(.*)?$", notice, re.MULTILINE))
    assert rows | {"kdumpd": "Apache-2.0"} == runpy.run_path(str(SBOM))["LICENCES"]


def test_the_container_may_do_what_kdumpd_does_and_no_more() -> None:
    config = yaml.safe_load((REPOSITORY / "etc/linuxkit/build.yml").read_text())["config"]
    assert config["capabilities"] == ["CAP_SYS_ADMIN", "CAP_SYS_BOOT"]
    assert config["binds"] == [
        "/dev:/dev",
        "/proc:/proc",
        "/persist:/persist:rshared,rbind",
        "/run/kdumpd:/run/kdumpd:ro",
    ]
    assert config["runtime"] == {"mkdir": ["/run/kdumpd"]}
    assert config["devices"] == [{"path": "all", "type": "c"}]
    assert config["readonly"]
    assert config["noNewPrivileges"]
    assert (config["net"], config["pid"]) == ("new", "host")


# In EVE's tree

EVE = REPOSITORY / "etc/eve"


def test_eves_package_has_the_same_container_and_no_fault() -> None:
    package = yaml.safe_load((EVE / "pkg/kdump/build.yml").read_text())
    ours = yaml.safe_load((REPOSITORY / "etc/linuxkit/build.yml").read_text())
    assert package == {name: value for name, value in ours.items() if name != "network"}
    dockerfile = (EVE / "pkg/kdump/Dockerfile").read_text()
    # apt's lists go with the stage; a tag of EVE's is a commit
    assert set(faults(dockerfile)) <= {"apt's lists stay in the layer"}
    ours_final = instructions((REPOSITORY / "Dockerfile").read_text().rpartition("\nFROM ")[2])
    final = instructions(dockerfile.rpartition("\nFROM ")[2])
    for instruction in ("ENV", "ENTRYPOINT"):
        assert [text for word, text in final if word == instruction] == [
            text for word, text in ours_final if word == instruction
        ]


SBOM_OF_TWO = {
    "packages": [
        {
            "name": "makedumpfile",
            "versionInfo": "1:1.7.8-1",
            "licenseConcluded": "GPL-2.0-only",
            "externalRefs": [{"referenceLocator": "pkg:deb/debian/makedumpfile@1%3A1.7.8-1?arch=amd64"}],
            "sourceInfo": "built from Debian source package makedumpfile 1:1.7.8-1",
        },
        {
            "name": "outcome",
            "versionInfo": "1.3.0",
            "licenseConcluded": "MIT OR Apache-2.0",
            "externalRefs": [{"referenceLocator": "pkg:pypi/outcome@1.3.0"}],
        },
    ]
}


@pytest.mark.system
def test_the_parts_are_registered_as_eve_wants_them(tmp_path: Path) -> None:
    (tmp_path / "sbom.json").write_text(json.dumps(SBOM_OF_TWO))
    register = tmp_path / "register-sbom-pkg.sh"
    register.write_text(f'#!/bin/sh\nfor word; do printf "[%s]" "$word"; done >> {tmp_path}/said\n')
    register.chmod(0o755)
    script = str(EVE / "pkg/kdump/parts.sh")
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run([script, "register", tmp_path / "sbom.json", "/out"], env=environment, check=True)
    assert (tmp_path / "said").read_text() == (
        "[-n][makedumpfile][-v][1:1.7.8-1][-l][GPL-2.0-only]"
        "[-u][pkg:deb/debian/makedumpfile@1%3A1.7.8-1?arch=amd64][-o][/out]"
        "[-n][outcome][-v][1.3.0][-l][MIT OR Apache-2.0][-u][pkg:pypi/outcome@1.3.0][-o][/out]"
    )
    listed = subprocess.run([script, "sources", tmp_path / "sbom.json"], capture_output=True, check=True)
    assert listed.stdout == b"makedumpfile=1:1.7.8-1\n"


def test_the_change_to_eves_rootfs_binds_a_file_that_it_makes() -> None:
    added = [line[1:] for line in (EVE / "rootfs.yml.in.diff").read_text().splitlines() if line[:1] == "+"]
    bound = [line.split("- ")[1].split(":")[0] for line in added if line.endswith(":ro")]
    made = [line.split("path: ")[1] for line in added if "path: " in line]
    assert bound == made == ["/etc/kdumpd.toml"]
