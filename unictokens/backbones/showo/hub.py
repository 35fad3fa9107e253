"""The model hub, for published weights by name; the only file that knows huggingface_hub."""

import logging
from pathlib import Path

from unictokens.errors import CheckpointError, DependencyError

logger = logging.getLogger(__name__)


def download(repository: str, file: str) -> Path:
    """A file of a hub repository, from the local cache or the network.

    Raises CheckpointError when it cannot be had, DependencyError without the library.
    """
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ModuleNotFoundError as error:
        raise DependencyError("hub names need the library 'huggingface_hub': pip install huggingface_hub") from error
    logger.info("fetching %s of %s", file, repository)
    try:
        return Path(hf_hub_download(repository, file))
    except LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"'{repository}' is not cached and the model hub cannot be reached: copy the repository to a folder and name that"
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"the model hub does not give '{file}' of '{repository}' ({reason}): correct the name or use a local folder"
        ) from error
