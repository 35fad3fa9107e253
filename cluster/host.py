"""The Ray that a job runs on: the cluster that RAY_ADDRESS names, else one of our own on this machine."""

import logging
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from unictokens.errors import ClusterError, DependencyError, UniCTokensError

ADDRESS = "RAY_ADDRESS"
"""Names the cluster to use. Ray itself sets it for the driver of a submitted job."""
OBJECT_STORE_BYTES = 100 * 2**20
"""Nothing large passes through Ray: weights come from files, learned rows go to files."""

RAY_ENVIRONMENT = {
    # Ray's own defaults poll every 2 s, chdir workers away from relative paths, and phone home.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": "600",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "2",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONUTF8": "1",
    # The lanes are what this machine is for; by default Ray runs them at the lowest priority but four.
    "RAY_worker_niceness": "0",
    # Waiting threads sleep: spinning ones make a busy machine ten times slower, and gain little on an idle one.
    "OMP_WAIT_POLICY": "PASSIVE",
}


def elsewhere() -> bool:
    """Whether a job uses a cluster that is there already, and that may grow, shrink and serve others."""
    return bool(os.environ.get(ADDRESS))


@contextmanager
def ray_session() -> Iterator[Any]:
    """The cluster that RAY_ADDRESS names, left as it was; without, a Ray of our own, ended with the block. Inside such a block
    the one that is there.

    Raises DependencyError without Ray, ClusterError for a cluster that does not answer.
    """
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        yield sys.modules["ray"]
        return
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not elsewhere() and "ray" not in sys.modules and not any(name.startswith("RAY_AUTH_") for name in os.environ):
        # A token of this job alone, which Ray reads when it is imported; its default is a file in the home folder that
        # everybody may read.
        os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    try:
        import ray
    except ModuleNotFoundError as error:
        raise DependencyError(
            "a job needs Ray: pip install 'unictokens[cluster]', or train one concept with 'python -m unictokens train'"
        ) from error
    if elsewhere():
        _connect(ray)
    else:
        # The dashboard stays on: without it Ray cannot clean up after a lane whose driver died.
        ray.init(
            address="local",
            include_dashboard=True,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=OBJECT_STORE_BYTES,
        )
    try:
        yield ray
    finally:
        ray.shutdown()


def heard(reference: Any, timeout: float | None = None) -> Any:
    """What an actor answered. Raises the error of ours that it raised; ClusterError when it is gone for good; TimeoutError."""
    import ray
    from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

    try:
        return ray.get(reference, timeout=timeout)
    except GetTimeoutError as error:
        raise TimeoutError(f"no answer within {timeout} s") from error
    except RayTaskError as error:
        if isinstance(error.cause, UniCTokensError):
            raise error.cause from None
        raise
    except RayActorError as error:
        reason = " ".join(str(error).split())[:300]
        raise ClusterError(f"the job's queue is gone ({reason}): start the job again with --resume") from error


def _connect(ray: Any) -> None:
    # Workers of a cluster know nothing of this process's environment; those of a submitted job know what came with it.
    submitted = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    environment = None if submitted else {"env_vars": {name: os.environ[name] for name in RAY_ENVIRONMENT}}
    address = os.environ[ADDRESS]
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, runtime_env=environment)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ClusterError(
            f"no Ray cluster at {ADDRESS}={address} ({reason}): correct it, or unset it to use this machine"
        ) from error
