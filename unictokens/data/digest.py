"""The digest of a concept's data: what a run's name says of all that training can read."""

import hashlib
import os
from collections.abc import Iterable, Mapping, MutableMapping, Sequence

from pydantic_core import to_json

from unictokens.errors import DataError, StorageError

SHARED = 100_000
"""Digests of shared pictures that are remembered."""
READ_BYTES = 2**16


def data_digest(
    name: str,
    about: Sequence[object],
    said: Sequence[object],
    places: Iterable[str],
    captions: Mapping[str, str],
    root: str,
    known: MutableMapping[str, str],
) -> str:
    """First 16 hex digits of a SHA-256 over a concept's texts and the places and bytes of its pictures.

    The same wherever the dataset lies, and however its JSON is indented.

    about   what its profile says
    said    of every dialogue its file, number, place of its picture, questions and answers
    places  of its pictures below `root`, each once
    known   digests of pictures outside the concept's own folder by place, which others may name as well: read and filled
    Raises StorageError for an unreadable picture, DataError for one whose name is no text.
    """
    own, contents = f"concept/train/{name}/", []
    for place in places:
        if place.startswith(own):
            content = _content(f"{root}/{place}")
        elif (content := known.get(place, "")) == "":
            content = _content(f"{root}/{place}")
            if len(known) < SHARED:
                known[place] = content
        contents.append((place, content))
    try:
        # As JSON: nothing of one text can be taken for another's.
        everything = to_json((about, said, sorted(captions.items()), sorted(contents)))
    except ValueError as error:
        raise DataError(f"concept '{name}' has a picture whose name is not UTF-8: rename it") from error
    return hashlib.sha256(everything).hexdigest()[:16]


def _content(picture: str) -> str:
    try:
        file = os.open(picture, os.O_RDONLY)
        try:
            digest = hashlib.sha256(os.read(file, READ_BYTES))
            while part := os.read(file, READ_BYTES):
                digest.update(part)
        finally:
            os.close(file)
    except OSError as error:
        raise StorageError(f"cannot read '{picture}' ({error.strerror}): check the dataset") from error
    return digest.hexdigest()
