"""Everything this package refuses, as one tree.

    UniCTokensError
    |- ConfigError        a setting: unknown key, wrong type, impossible value
    |- DataError          a dataset: missing, malformed or hostile file
    |- CheckpointError    model weights: missing or extra key, wrong shape, wrong fingerprint
    |- ConceptError       a concept: bad name, unknown name, tokens that do not fit their layout or backbone
    |- StorageError       the disk: no permission, no space, a half-written or damaged file of ours
    |- DependencyError    an optional library or model file that is not installed
    |- TrainingError      a run that cannot go on: non-finite loss, nothing to train on
    |- ClusterError       a cluster: no answer, a wrong token, no room
    |- ServeError         a request to the service; also: the model failed while it was served
       |- RequestError    it cannot be served as asked: too long, impossible values
       |- Busy            no room now; `retry_after` says when to come back
       |- TimedOut        it was not finished in the time it had
       |- Cancelled       whoever asked has left

Every message is one line and names the value and the fix. The command line prints it and exits with code 2.
All of them survive pickling, so that they cross process boundaries unchanged.
"""


class UniCTokensError(Exception):
    """Base of every error a user can cause or mend."""


class ConfigError(UniCTokensError):
    """A setting is unknown, of the wrong type, or impossible."""


class DataError(UniCTokensError):
    """A dataset or an image is missing, malformed or hostile."""


class CheckpointError(UniCTokensError):
    """Model weights do not fit the architecture they are loaded into."""


class ConceptError(UniCTokensError):
    """A concept name or its learned tokens cannot be used here."""


class StorageError(UniCTokensError):
    """A file cannot be written, or one of ours is damaged."""


class DependencyError(UniCTokensError):
    """An optional library or model file is not installed."""


class TrainingError(UniCTokensError):
    """A run cannot go on."""


class ClusterError(UniCTokensError):
    """A cluster does not answer, does not let us in, or has no room."""


class ServeError(UniCTokensError):
    """A request cannot be served."""


class RequestError(ServeError):
    """A request cannot be served as it was asked."""


class Busy(ServeError):
    """There is no room for a request now; `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message, retry_after)
        self.retry_after = retry_after

    def __str__(self) -> str:
        return str(self.args[0])


class TimedOut(ServeError):
    """A request was not finished in the time it had."""


class Cancelled(ServeError):
    """Whoever asked for something has left."""
