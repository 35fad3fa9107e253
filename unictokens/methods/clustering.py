"""K-means over embedding rows; the only file that imports scikit-learn."""

import logging

import torch
from torch import Tensor

from unictokens.errors import DependencyError, TrainingError

log = logging.getLogger(__name__)


def centres(vectors_MD: Tensor, clusters: int) -> Tensor:
    """Centres float32 [clusters, D] of `vectors_MD` float [M, D] (k-means++, Lloyd, random state 0, as published).

    The result depends on the order of the vectors. Raises TrainingError for fewer vectors than clusters and
    DependencyError without scikit-learn.
    """
    if vectors_MD.shape[0] < clusters:
        raise TrainingError(
            f"k-means needs at least {clusters} vectors for {clusters} rows but got {vectors_MD.shape[0]}: "
            "give it more pictures or choose fewer rows"
        )
    try:
        from sklearn.cluster import KMeans
    except ModuleNotFoundError as error:
        raise DependencyError("k-means needs the library 'scikit-learn': pip install scikit-learn") from error
    # Duplicates make empty clusters, of which scikit-learn warns in Python's warnings; the log says it in our words.
    distinct = torch.unique(vectors_MD, dim=0).shape[0]
    if distinct < clusters:
        log.warning("k-means has only %d distinct vectors for %d rows: some rows start alike", distinct, clusters)
    fitted = KMeans(n_clusters=clusters, random_state=0).fit(vectors_MD.detach().float().cpu().numpy())
    return torch.from_numpy(fitted.cluster_centers_).to(device=vectors_MD.device, dtype=torch.float32)
