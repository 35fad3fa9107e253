"""A command given here and done on a cluster: what `--address` means.

Jobs are sent: each under a name that only its work decides, so that the same command given twice finds the first. Questions
about them are asked: a driver of seconds, on the cluster's head where the output folder is, whose words appear here.
"""

import argparse
import hashlib
import json
import logging
import secrets
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.package import packed
from cluster.submit import JOB, Attempt, JobServer, Submission, add_address, connect
from unictokens.atomic import storage_error
from unictokens.cli.shell import FAILED, INTERRUPTED, OK
from unictokens.config import PRESETS, config_hash
from unictokens.errors import ClusterError, ConfigError
from unictokens.tracking.address import shown

log = logging.getLogger(__name__)

NAME_DIGITS = 12
CONFIG_FILE = "submitted-config.json"
"""Where a --config FILE of this machine lies in the folder that a driver runs in."""
OUTPUT = "out"
"""Metadata key of the output path, where the job's folder is."""
BEGIN = "-- begin --"
"""Printed before the answer to a question; what comes earlier is Ray's."""
HERE = {"--address": 1, "--token-file": 1, "--follow": 0}
"""Options of the sender, and how many words follow each."""
HOW = frozenset(
    [
        "address",
        "token_file",
        "follow",
        "verbose",
        "resume",
        "lanes",
        "min_lanes",
        "max_lanes",
        "pack",
        "engine",
        "offload",
        "offload_path",
        "processes",
        "cache",
        "host_cache",
        "tracking_uri",
        "timeout",
        "stall",
    ]
)
"""Options that change how a job is done and not what it makes: they do not name it."""


def add_sending(parser: argparse.ArgumentParser) -> None:
    """Options of commands that can be sent: read by `send`."""
    add_address(parser, "send it to a cluster as a Ray job")
    parser.add_argument("--follow", action="store_true", help="with --address: show its log here, until it ends")


def send(name: str, words: Sequence[str], parsed: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Send the command `name` with its arguments `words` to the cluster at --address.

    Raises ConfigError for what means nothing there, ClusterError when the cluster does not take it.
    """
    job = job_name(name, parsed, parser)
    check_paths(parsed)
    words, files = shipped(without(words, HERE), parsed)
    metadata = {JOB: job, "command": name, OUTPUT: str(getattr(parsed, "out", ""))}
    metadata |= {
        key: str(getattr(parsed, key)) for key in ("data", "concepts") if getattr(parsed, key, None) is not None
    }
    if hasattr(parsed, "config"):
        metadata["config"] = _config_hash(parsed)
    server = connect(parsed.address, parsed.token_file)
    attempt = begin(server, job, [name, *words], files, metadata, may_resume=hasattr(parsed, "resume"))
    if parsed.follow:
        return follow(server, attempt.id, lambda piece: print(piece, end="", flush=True))
    for command in ("status", "logs", "cancel"):
        print(f"  python -m cluster {command} {job} --address {server.address}")
    return OK


def begin(
    server: JobServer,
    job: str,
    words: Sequence[str],
    files: Mapping[str, bytes],
    metadata: Mapping[str, str],
    may_resume: bool,
) -> Attempt:
    """The attempt of `job` that is under way, or a new one; what an earlier one began is continued by the next."""
    before = server.attempts(job)
    alive = [each for each in before if not each.over]
    if not alive:
        number = 1 + max((_number(each.id) for each in before), default=0)
        if before and may_resume and not any(word.partition("=")[0] == "--resume" for word in words):
            words = [*words, "--resume"]
        submission = Submission(
            id=f"{job}-{number}",
            command=shlex.join(["python", "-m", "cluster", *words]),
            package=packed(files),
            metadata=metadata,
        )
        began = server.submit(submission)
        after = f", after one that is {before[-1].status.lower()}" if before else ""
        print(f"{job}: attempt {number}{after}" + ("" if began else ", which somebody else sent at this moment"))
        return server.attempt(submission.id)
    print(f"{job} is on the cluster already: attempt {_number(alive[-1].id)} is {alive[-1].status.lower()}")
    return alive[-1]


def follow(server: JobServer, identity: str, hear: Callable[[str], object]) -> int:
    """Pass on what the driver writes until it ends; returns its exit code. Ctrl-C ends the following, not the driver."""
    for piece in server.follow(identity):
        hear(piece)
    return exit_code(server.attempt(identity))


def exit_code(attempt: Attempt) -> int:
    """Of a driver that is over. Raises ClusterError for one that never started."""
    if attempt.status == "STOPPED":
        return INTERRUPTED
    if attempt.status == "SUCCEEDED":
        return OK
    if attempt.exit_code is None:
        raise ClusterError(
            f"'{attempt.id}' failed before its command began ({' '.join(attempt.message.split())[:300]})"
        )
    return attempt.exit_code if attempt.exit_code > 0 else FAILED


def ask(server: JobServer, words: Sequence[str], hear: Callable[[str], object]) -> int:
    """Run `python -m cluster WORDS` on the cluster's head, pass on its lines as they come, and return its exit code."""
    identity = f"question-{secrets.token_hex(6)}"
    command = f"echo '{BEGIN}'; {shlex.join(['python', '-m', 'cluster', *words])}"
    submission = Submission(id=identity, command=command, package=packed(), metadata={})
    server.submit(submission)
    lines = _Lines(hear)
    try:
        code = follow(server, identity, lines.add)
    except KeyboardInterrupt:
        server.stop(identity)
        raise
    lines.end()
    server.forget(identity)
    return code


class _Lines:
    """Cuts pieces of text into lines, and passes on those after BEGIN."""

    def __init__(self, hear: Callable[[str], object]) -> None:
        self._hear = hear
        self._rest = ""
        self._begun = False

    def add(self, piece: str) -> None:
        *lines, self._rest = (self._rest + piece).split("\n")
        for line in lines:
            if self._begun:
                self._hear(line)
            elif line.strip() == BEGIN:
                self._begun = True

    def end(self) -> None:
        if self._rest and self._begun:
            self._hear(self._rest)


def find(server: JobServer, job: str) -> Attempt:
    """The newest attempt of a job; "" is the job that was sent last. Raises ConfigError for one that is not there."""
    known = server.attempts()
    found = [each for each in known if job in ("", each.job, each.id)]
    if not found:
        names = list(dict.fromkeys(each.job for each in reversed(known)))
        there = f"it has {', '.join(names[:5])}" if names else "none was sent there"
        raise ConfigError(f"'{server.address}' has no job '{job[:80]}': {there}")
    return found[-1]


def job_name(command: str, parsed: argparse.Namespace, parser: argparse.ArgumentParser) -> str:
    """The name of what a command makes, as in train-0f3a5b27c1d9; lanes, packs and memory do not change it."""
    given = {key: str(value) for key, value in vars(parsed).items() if value != parser.get_default(key)}
    wanted: dict[str, Any] = {key: value for key, value in given.items() if key not in HOW}
    if hasattr(parsed, "config"):
        for key in ("config", "set", "backbone"):
            wanted.pop(key, None)
        wanted["config"] = _config_hash(parsed)
    if "concepts" in wanted:
        wanted["concepts"] = sorted(set(wanted["concepts"].split(",")))
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    return f"{command}-{digest[:NAME_DIGITS]}"


def _config_hash(parsed: argparse.Namespace) -> str:
    from unictokens.cli.options import read_config

    return config_hash(read_config(parsed))


def check_paths(parsed: argparse.Namespace) -> None:
    """Refuse what means nothing on another machine, and what would be read by others there. Raises ConfigError."""
    for key, value in vars(parsed).items():
        if isinstance(value, Path) and key != "token_file" and not value.is_absolute():
            raise ConfigError(
                f"--{key.replace('_', '-')} '{value}' means nothing on the cluster: give the full path of a folder that "
                "all its nodes see"
            )
    uri = getattr(parsed, "tracking_uri", "")
    if uri and shown(uri) != uri:
        raise ConfigError(
            f"--tracking-uri '{shown(uri)}' holds a password, which a cluster shows to everybody: set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD on its nodes"
        )


def shipped(words: Sequence[str], parsed: argparse.Namespace) -> tuple[list[str], dict[str, bytes]]:
    """The arguments with a --config FILE replaced by its place in the package, and what goes into the package."""
    config = getattr(parsed, "config", None)
    words = list(words)
    if config is None or config in PRESETS:
        return words, {}
    try:
        content = Path(config).read_bytes()
    except OSError as error:
        raise storage_error(error, Path(config), "read") from error
    replaced = [
        CONFIG_FILE if at and words[at - 1] == "--config" else f"--config={CONFIG_FILE}" if given else word
        for at, word in enumerate(words)
        for given in [word.startswith("--config=")]
    ]
    return replaced, {CONFIG_FILE: content}


def without(words: Sequence[str], options: Mapping[str, int]) -> list[str]:
    """Arguments without some options and the words that belong to them."""
    kept: list[str] = []
    skip = 0
    for word in words:
        name, equals, _ = word.partition("=")
        if skip:
            skip -= 1
        elif name in options:
            skip = 0 if equals else options[name]
        else:
            kept.append(word)
    return kept


def _number(identity: str) -> int:
    last = identity.rpartition("-")[2]
    return int(last) if last.isdecimal() else 0
