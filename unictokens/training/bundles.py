"""The bundle of a run's rows: at its end, or as they were after one of its stages."""

from pathlib import Path

from unictokens import __version__
from unictokens.backbones.base import BackboneInfo
from unictokens.concepts.bundle import ConceptBundle
from unictokens.concepts.card import BackboneStamp, ConceptCard, PromptTemplates, Provenance
from unictokens.concepts.layout import Group, TokenLayout
from unictokens.concepts.tokens import ConceptTokens
from unictokens.config import RunConfig, config_hash, to_dict
from unictokens.data.records import ConceptRecord
from unictokens.errors import ConfigError
from unictokens.lookup import resolve
from unictokens.methods.base import METHODS, Method, Stage
from unictokens.training.checkpoint import Cursor, Identity, load_checkpoint
from unictokens.training.optimizer import PARTS


def existing(layout: TokenLayout, groups: tuple[Group, ...], rows: int) -> tuple[Group, ...]:
    """Those of `groups` whose rows are among the first `rows`: later stages create the others."""
    return tuple(group for group in groups if layout.through(group) <= rows)


def bundle_of(
    record: ConceptRecord,
    config: RunConfig,
    info: BackboneInfo,
    stage: Stage,
    epoch: int,
    tokens: ConceptTokens,
    identity: Identity,
    losses: dict[str, float],
    created: str,
) -> ConceptBundle:
    """Rows after `epoch` epochs of `stage` with a card; prompts are those of the stage, with the groups that exist."""
    on_cpu = ConceptTokens(tokens.layout, *(tensor.cpu() for tensor in tokens.tensors()))
    layout = config.layout
    introduction = existing(layout, stage.config.introduction, tokens.rows)
    subject = existing(layout, stage.config.subject, tokens.rows)
    card = ConceptCard(
        name=record.name,
        class_word=record.cls,
        layout=layout,
        backbone=BackboneStamp.of(info),
        person=record.is_person,
        info=record.info,
        templates=PromptTemplates.of(layout, introduction, subject),
        provenance=Provenance(
            config=to_dict(config),
            config_hash=identity.config_hash,
            dataset_digest=identity.dataset_digest,
            seed=config.seed,
            package_version=__version__,
            stage=stage.name,
            epoch=epoch,
            metrics=losses,
            created=created,
        ),
    )
    return ConceptBundle(on_cpu, card)


def bundle_after(
    folder: Path,
    record: ConceptRecord,
    config: RunConfig,
    info: BackboneInfo,
    stage: str = "",
    epoch: int | None = None,
) -> ConceptBundle:
    """The rows of the run in `folder` as they were at the end of a stage ("" for the last), in the prompts of that stage.

    epoch  another one than the stage's last, where it was kept: of the last stage, the best is (see `history.best_epoch`)
    Raises ConfigError for a stage that the run's method does not have, StorageError when the run has not come that far.
    """
    method: Method = resolve(METHODS, config.method, "method")()
    stages = method.stages(config)
    names = [each.name for each in stages]
    if stage and stage not in names:
        raise ConfigError(f"method '{config.method}' has no stage '{stage}': choose among {', '.join(names)}")
    number = names.index(stage) if stage else len(stages) - 1
    ended = stages[number]
    identity = Identity(record.name, config_hash(config), record.digest(), info.fingerprint)
    cursor = Cursor(number, ended.name, ended.config.epochs if epoch is None else epoch)
    tensors = load_checkpoint(folder / "checkpoints", cursor, identity).tensors
    tokens = ConceptTokens(config.layout, *(tensors[f"rows.{part}"] for part in PARTS))
    return bundle_of(record, config, info, ended, cursor.epoch, tokens, identity, {}, "")
