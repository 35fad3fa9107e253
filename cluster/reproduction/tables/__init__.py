"""The five findings of the paper (arXiv 2505.14671) that are reproduced, as data, and one of OmniPersona (arXiv 2601.06965).

Their numbers are of Show-o and of Bagel on real photos.
"""

from cluster.reproduction.table import Table
from cluster.reproduction.tables.forgetting import FORGETTING
from cluster.reproduction.tables.growth import UNDERSTANDING_TO_GENERATION
from cluster.reproduction.tables.init import INIT
from cluster.reproduction.tables.replay import REPLAYS
from cluster.reproduction.tables.stages import STAGES
from cluster.reproduction.tables.tokens import TOKENS

TABLES: dict[str, Table] = {
    table.name: table for table in (STAGES, INIT, TOKENS, FORGETTING, UNDERSTANDING_TO_GENERATION, REPLAYS)
}
"""By the name that --table takes."""
