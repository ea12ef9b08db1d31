"""How the image is made: its Dockerfile, what goes into it, what its container may do."""

import re
import runpy
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
