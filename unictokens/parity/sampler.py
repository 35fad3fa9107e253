"""File `sampler`: drawing, inpainting, answering, masking, losses and gradients of a whole small Show-o."""

import json
import re

import torch
from torch import Generator, Tensor

from unictokens.backbones.base import Decoding, GenerationSample, MaskDraw, Sampling
from unictokens.backbones.showo.answering import Answering
from unictokens.backbones.showo.attention import drawing_mask
from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.batch import Block, ShowOBatch
from unictokens.backbones.showo.config import SPECIAL_COUNT, ShowOConfig
from unictokens.backbones.showo.drawing import DrawingTask
from unictokens.backbones.showo.image_tokenizer import Magvit, MagvitConfig
from unictokens.backbones.showo.language_model import LanguageModel
from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.tokenizer import TextTokenizer
from unictokens.errors import DataError
from unictokens.parity.vectors import Check, Vectors, fill, seeded
from unictokens.sampling import maskgit

UNDERSTANDING_WEIGHT, GENERATION_WEIGHT = 0.2, 0.8
"""The recorded gradients belong to the published sum of both losses."""

FIRST_COLUMN, PLACE_STRIDE = 50_000, 9
"""Which part of the first forward pass was kept."""


def check_sampler(vectors: Vectors, tokenizer: TextTokenizer) -> list[Check]:
    """All groups of keys the file has."""
    backbone = _backbone(vectors, tokenizer)
    groups = {key.split(".")[0] for key in vectors.tensors}
    checks: list[Check] = []
    for group, check in (("gen", _generation), ("inpaint", _inpainting), ("mmu", _answers), ("train", _training)):
        if group in groups:
            checks += check(vectors, backbone)
    checks += _schedules(vectors)
    return checks + vectors.unknown(checks, {"mmu.input_ids", "topk.probs", "topk.mask_len", "train.image_tokens"})


def _backbone(vectors: Vectors, tokenizer: TextTokenizer) -> ShowO:
    phi, N, T = (
        json.loads(vectors.setting("llm_config")),
        int(vectors.setting("N")),
        int(vectors.setting("max_text_len")),
    )
    blank = vectors.get("gen.input_ids")[0]
    text_size, mask = int(blank[T + 1]) - 1, int(blank[T + 2])
    bits = (mask - text_size - SPECIAL_COUNT).bit_length() - 1
    magvit = MagvitConfig(base=32, bits=bits)
    side = round(N**0.5) * magvit.factor
    config = ShowOConfig(
        phi=phi, text_size=text_size, codebook_bits=bits, num_vq_tokens=N, text_length=T, image_size=side, magvit=magvit
    )
    model = LanguageModel(phi, config.vocab_size)
    fill(model, *seeded(vectors.metadata.get("fill", ""), 99, 0.1))
    return ShowO(config, model.eval(), Magvit(magvit).eval(), tokenizer, "recorded")


def _bank(backbone: ShowO) -> ConceptBank:
    return ConceptBank.empty(backbone.config.width)


def _number(key: str, letter: str, default: float | None = None) -> float:
    """The number after `letter` in a key such as `codes_gs5_T12_seed42`."""
    found = re.search(rf"_{letter}(\d+(?:\.\d+)?)(?=_|$)", key)
    if found:
        return float(found.group(1))
    if default is None:
        raise DataError(f"vector '{key}' does not say its '{letter}': use the recorded names")
    return default


def _texts(ids_BT: Tensor, backbone: ShowO) -> list[list[int]]:
    """Text ids of drawing sequences, without padding, task, start and end."""
    room = backbone.config.text_length + 1
    return [row[row.index(backbone.vocabulary.t2i) + 2 : room - 1] for row in ids_BT.tolist()]


def _states(ids_BT: Tensor, backbone: ShowO) -> Tensor:
    """Codes of drawing sequences, HIDDEN where masked."""
    image_BN = ids_BT[:, backbone.config.text_length + 2 : -1]
    hidden_BN = image_BN == backbone.vocabulary.mask
    return (image_BN - backbone.vocabulary.code_offset).masked_fill(hidden_BN, maskgit.HIDDEN)


def _sequences(vectors: Vectors, group: str, backbone: ShowO) -> list[Check]:
    """Both recorded prompts, laid out again from their text and image."""
    checks = []
    for key in (f"{group}.input_ids", f"{group}.uncond_ids"):
        recorded = vectors.get(key)
        images = recorded[:, backbone.config.text_length + 2 : -1].tolist()
        texts = _texts(recorded, backbone)
        made = [backbone.sequences.drawing(text, image) for text, image in zip(texts, images, strict=True)]
        checks.append(vectors.exact(key, torch.tensor(made)))
    return checks


def _draw(vectors: Vectors, key: str, backbone: ShowO, trace: tuple[int, ...] = ()) -> tuple[Tensor, dict[int, Tensor]]:
    ids_BT = vectors.get(f"{key.split('.')[0]}.input_ids")
    task = DrawingTask(backbone.language_model, backbone.sequences, backbone.config.num_vq_tokens, _bank(backbone))
    sampling = Sampling(steps=int(_number(key, "T")), guidance=_number(key, "gs"), trace=trace)
    generator = Generator().manual_seed(int(_number(key, "seed")))
    concepts: list[tuple[int, ...]] = [()] * len(ids_BT)
    drawings = task.run(_texts(ids_BT, backbone), concepts, sampling, generator, _states(ids_BT, backbone))
    return torch.stack([drawing.codes_N for drawing in drawings]), {
        step: torch.stack([drawing.trace[step] for drawing in drawings]) for step in trace
    }


def _generation(vectors: Vectors, backbone: ShowO) -> list[Check]:
    checks = _sequences(vectors, "gen", backbone)
    steps = sorted(int(key.removeprefix("gen.multi_step")) for key in vectors.tensors if "gen.multi_step" in key)
    keys = [key for key in vectors.tensors if key.startswith("gen.codes_")]
    # The recorded intermediate steps (0-based) belong to the guided run that they reach the end of.
    guided = [key for key in keys if _number(key, "gs") > 0]
    watched = next((key for key in guided if steps and _number(key, "T") == steps[-1] + 1), guided[0] if guided else "")
    for key in keys:
        trace = tuple(step + 1 for step in steps) if key == watched else ()
        codes_BN, traced = _draw(vectors, key, backbone, trace)
        checks.append(vectors.exact(key, codes_BN))
        checks += [vectors.exact(f"gen.multi_step{step - 1}", found_BN) for step, found_BN in traced.items()]
    key = "gen.logits_first_forward_cond"
    if key in vectors.tensors:
        ids_BT, ids, model = vectors.get("gen.input_ids"), backbone.vocabulary, backbone.language_model
        with torch.no_grad():
            x_BTD = model.embed(ids_BT, _bank(backbone), torch.zeros(len(ids_BT), 1, dtype=torch.long))
            h_BTD = model.hidden(x_BTD, drawing_mask(ids_BT, ids.pad, ids.soi, ids.eoi))
            columns = vectors.get(key).shape[2]
            checks.append(
                vectors.close(key, model.frozen_logits(h_BTD, FIRST_COLUMN, FIRST_COLUMN + columns)[:, ::PLACE_STRIDE])
            )
    return checks


def _inpainting(vectors: Vectors, backbone: ShowO) -> list[Check]:
    keys = [key for key in vectors.tensors if key.startswith("inpaint.codes_")]
    drawn = [vectors.exact(key, _draw(vectors, key, backbone)[0]) for key in keys]
    return _sequences(vectors, "inpaint", backbone) + drawn


def _answers(vectors: Vectors, backbone: ShowO) -> list[Check]:
    ids = vectors.get("mmu.input_ids")[0].tolist()
    end = ids.index(backbone.vocabulary.eoi) + 1
    answering = Answering(backbone.language_model, backbone.vocabulary, backbone.tokenizer, _bank(backbone))
    checks = []
    for key in sorted(vectors.tensors):
        found = re.match(r"mmu\.top(\d+)", key)
        if found:
            recorded = vectors.get(key)
            decoding = Decoding(
                max_tokens=recorded.numel(), top_k=int(found.group(1)), temperature=_number(key, "T", 1.0)
            )
            generator = Generator().manual_seed(int(_number(key, "seed", 0)))
            answer = answering.decode([ids[:end]], [ids[end:]], [()], decoding, generator)[0]
            checks.append(vectors.exact(key, torch.tensor(answer)))
    return checks


def _training(vectors: Vectors, backbone: ShowO) -> list[Check]:
    ids, T, N = backbone.vocabulary, backbone.config.text_length, backbone.config.num_vq_tokens
    recorded_BT, labels_BT = vectors.get("train.input_ids"), vectors.get("train.labels")
    key = next(key for key in vectors.tensors if key.startswith("train.mask_prob_"))
    seed = f"seed{int(_number(key, 'seed'))}"
    image_BN = vectors.get("train.image_tokens")
    generator = Generator().manual_seed(int(_number(key, "seed")))
    time_B, order_BN = torch.rand(len(image_BN), generator=generator), torch.rand(image_BN.shape, generator=generator)
    hidden_BN = maskgit.training_mask(time_B, order_BN)
    checks = [
        vectors.close(key, maskgit.mask_ratio(time_B)),
        vectors.exact(f"train.masked_ids_{seed}", image_BN.masked_fill(hidden_BN, ids.mask)),
        vectors.exact(f"train.labels_{seed}", image_BN.masked_fill(~hidden_BN, -100)),
    ]
    drawing = recorded_BT[:, 0] != ids.mmu
    hidden_BN = recorded_BT[drawing][:, T + 2 : -1] == ids.mask
    samples = []
    for row, text in enumerate(_texts(recorded_BT[drawing], backbone)):
        prompt = (backbone.tokenizer.decode(text),)
        samples.append((GenerationSample(image_BN[row] - ids.code_offset, prompt, ()), MaskDraw(hidden_BN[row])))
    batch = backbone.collate([], samples)
    made_ids, made_labels = [], []
    if batch.generation is not None:
        block = batch.generation
        made_ids.append(torch.nn.functional.pad(block.ids_BT, (block.dropped, 0), value=ids.pad))
        made_labels.append(torch.nn.functional.pad(block.labels_BT, (block.dropped, 0), value=-100))
    for row in recorded_BT[~drawing].tolist():
        text = [identifier for identifier in row[N + 4 :] if identifier < ids.text_size and identifier != ids.eot]
        one_ids, one_labels = backbone.sequences.understanding(text, row[2 : N + 2])
        made_ids.append(torch.tensor([one_ids]))
        made_labels.append(torch.tensor([one_labels]))
    checks.append(vectors.exact("train.input_ids", torch.cat(made_ids)))
    checks.append(vectors.exact("train.labels", torch.cat(made_labels)))
    asked = Block(recorded_BT[~drawing], labels_BT[~drawing], torch.zeros(int((~drawing).sum()), 0, dtype=torch.long))
    return checks + _losses(vectors, backbone, ShowOBatch(asked, batch.generation))


def _losses(vectors: Vectors, backbone: ShowO, batch: ShowOBatch) -> list[Check]:
    model = backbone.language_model.requires_grad_(True)
    losses = backbone.losses(batch, _bank(backbone))
    generation = losses.generation_total_G.sum() / losses.generation_count_G.sum()
    understanding = losses.understanding_total_U.sum() / losses.understanding_count_U.sum()
    (GENERATION_WEIGHT * generation + UNDERSTANDING_WEIGHT * understanding).backward()
    grads = [parameter.grad for parameter in (model.embed_VD, model.head_VD, model.bias_V)]
    embed, head, bias = (torch.zeros(0) if grad is None else grad for grad in grads)
    checks = [
        vectors.close("train.loss_t2i_mmu", torch.stack([generation, understanding])),
        vectors.close("train.grad_norms", torch.stack([embed.norm(), head.norm(), bias.norm()])),
    ]
    for key in vectors.tensors:
        rows = re.fullmatch(r"train\.grad_(embed|lmhead)_rows_(\d+)_(\d+)", key)
        if rows:
            table = embed if rows.group(1) == "embed" else head
            checks.append(vectors.close(key, table[int(rows.group(2)) : int(rows.group(3))]))
    model.requires_grad_(False)
    model.zero_grad()
    return checks


def _schedules(vectors: Vectors) -> list[Check]:
    checks = []
    for key in sorted(vectors.tensors):
        cosine, cooling = re.fullmatch(r"sched\.cosine(\d+)", key), re.fullmatch(r"sched\.temperature(\d+)", key)
        if cosine:
            steps = int(cosine.group(1))
            checks.append(vectors.close(key, _cosine(vectors.get(key), steps)))
        if cooling:
            made = maskgit.temperatures(1.0, int(cooling.group(1)))
            checks.append(vectors.close(key, torch.tensor(made, dtype=torch.float64)))
        if key.startswith("topk.masking_"):
            generator = Generator().manual_seed(int(_number(key, "seed")))
            counts_B1 = vectors.get("topk.mask_len").long()
            hide_BN = maskgit.least_confident(vectors.get("topk.probs"), counts_B1, _number(key, "T"), generator)
            checks.append(vectors.exact(key, hide_BN))
    return checks


def _cosine(recorded: Tensor, steps: int) -> Tensor:
    """The schedule for the number of codes that the recording is about, which it does not say: the one that fits best."""
    sizes = [side * side for side in range(2, 65)]
    made = [torch.tensor([float(maskgit.keep_hidden(step, steps, N)) for step in range(steps)]) for N in sizes]
    return min(made, key=lambda schedule: float((schedule - recorded).abs().max()))
