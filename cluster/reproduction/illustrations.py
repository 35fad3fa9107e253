"""What a table shows beside its numbers: drawings of each variant with the same seeds, and where its tokens look in a photo."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.reproduction.collect import Sheet, pictures_of
from cluster.reproduction.table import Table
from unictokens.atomic import storage_error, write_json
from unictokens.backbones.base import Backbone
from unictokens.data.records import ConceptRecord
from unictokens.errors import UniCTokensError
from unictokens.evaluation.attention import Attending, gaze, overlay
from unictokens.learn import Output, RunPlan
from unictokens.report.reproduction import CAPTIONS, OVERLAYS, PICTURES
from unictokens.training.bundles import bundle_after
from unictokens.training.pictures import save_png

log = logging.getLogger(__name__)

PICTURED, PICTURES_EACH = 3, 1
"""Concepts, and portraits of each variant, that the page shows."""


def keep_pictures(folder: Path, sheet: Sheet, concepts: Sequence[str]) -> None:
    """Copies of a few portraits: a folder per variant below pictures/, in the table's order. Raises StorageError."""
    home = folder / PICTURES
    shutil.rmtree(home, ignore_errors=True)
    order = [variant.name for variant in sheet.table.variants]
    for (variant, concept), files in pictures_of(sheet, concepts[:PICTURED], PICTURES_EACH).items():
        kept = home / f"{order.index(variant):02d}-{variant}"
        try:
            kept.mkdir(parents=True, exist_ok=True)
            for number, file in enumerate(files):
                shutil.copyfile(file, kept / f"{concept}-{number}.png")
        except OSError as error:
            raise storage_error(error, kept) from error


def keep_overlays(
    folder: Path,
    table: Table,
    record: ConceptRecord,
    runs: Mapping[tuple[str, str, int], RunPlan],
    backbone: Backbone,
    output: Output,
) -> None:
    """Overlays of a test photo for every trained variant of the first seed: where the tokens look, and the answer's place.

    A variant whose rows are not there is left out. Raises StorageError when the disk refuses.
    """
    home = folder / OVERLAYS
    shutil.rmtree(home, ignore_errors=True)
    photo = (*record.test_photos, *record.photos)[0]
    attending: Attending = backbone  # type: ignore[assignment]  # only tables of backbones that can say it ask for it
    rows: dict[str, dict[str, str]] = {"its tokens": {}, "the place that decides the answer": {}}
    for number, variant in enumerate(table.variants):
        run = runs.get((variant.name, record.name, 0))
        if run is None:
            continue
        try:
            bundle = bundle_after(output.run_folder(run.name), record, run.config, backbone.info, variant.stage)
            found = gaze(attending, bundle, photo)
        except UniCTokensError as error:
            log.info("no attention of '%s': %s", variant.name, error)
            continue
        for row, weights_N, share in zip(rows, (found.tokens_N, found.answer_N), found.share, strict=True):
            file = f"{number:02d}-{row.split()[-1]}.png"
            save_png(home / file, overlay(photo, weights_N, backbone.info.image_size))
            rows[row][file] = f"{variant.name}: {100 * share:.0f} % of its attention is on the photo"
    if all(rows.values()):
        where = f"of <{record.name}>, question 'Is <{record.name}> in the photo?', mean over layers and heads"
        write_json(home / CAPTIONS, {f"{row} {where}": files for row, files in rows.items()})
