"""MLflow's client at an address, and what its many libraries raise as two errors of ours, in one line each."""

import logging
import os
from collections.abc import Callable
from typing import Any, TypeVar

from unictokens.errors import DependencyError
from unictokens.tracking.address import shown
from unictokens.tracking.server import Away, Refused

Result = TypeVar("Result")

CLIENT_ENVIRONMENT = {
    # One try of a few seconds: whoever asks comes back by itself, and does so less and less often.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
FOR_EVER = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "BAD_REQUEST", "INVALID_STATE"}
"""What MLflow calls errors that the same request would meet again."""
HTTP_FOR_EVER = ("error code 413", "error code 422")
"""And those of a proxy before it that MLflow has no name for, as it words them."""


class MlflowConnection:
    """`client` is MLflow's, for runs and registry at `uri`.

    what  is done there ("tracking"), and how to mend what goes wrong, for errors
    Raises DependencyError without mlflow, Refused for an address that it does not understand, Away.
    """

    def __init__(self, uri: str, what: str, mend: str, without: str = "") -> None:
        for name, value in CLIENT_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            from mlflow.tracking import MlflowClient
        except ModuleNotFoundError as error:
            raise DependencyError(f"{what} needs the library 'mlflow': pip install mlflow{without}") from error
        # Its database layer reports every migration step of a new file; those lines mean nothing to a user.
        for name in ("alembic", "mlflow"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self.uri = uri
        self._what = what
        self._mend = mend
        try:
            self.client: Any = MlflowClient(uri, uri)
        except ModuleNotFoundError as error:
            raise DependencyError(
                f"{what} at '{shown(uri)}' needs the library '{error.name}': pip install 'unictokens[postgres]'"
            ) from error
        except Exception as error:  # as in `asked`
            raise self._complaint(error) from error

    def asked(self, action: Callable[[], Result]) -> Result:
        """Run `action`; whatever MLflow, its database or the network say becomes Away or Refused, in one line."""
        try:
            return action()
        except (Away, Refused):
            raise
        except Exception as error:  # these libraries raise what their own libraries raise; none of it may end a process
            raise self._complaint(error) from error

    def _complaint(self, error: Exception) -> Away | Refused:
        kind = Refused if _for_ever(error) else Away
        return kind(f"{self._what} at '{shown(self.uri)}' failed ({words(error, self.uri)}): {self._mend}")


def _for_ever(error: Exception) -> bool:
    code = getattr(error, "error_code", "")
    return code in FOR_EVER or any(told in str(error) for told in HTTP_FOR_EVER)


def words(error: Exception, uri: str = "") -> str:
    """What an error says, in one line without the password of `uri`."""
    text = " ".join(str(error).split()) or type(error).__name__
    return (text.replace(uri, shown(uri)) if uri else text)[:200]
