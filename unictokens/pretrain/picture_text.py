"""Train the small CLIP of Toyland, for CLIP-I and CLIP-T without a download: `python -m unictokens.pretrain FOLDER --clip`.

Three lessons at once: which caption belongs to which picture; which pictures show the same individual, lookalikes among the others;
and the class numbers of `attributes`, by a head that is dropped. Captions alone would leave out the fine looks that make somebody
personal, and CLIP-I is meant to tell those apart.
"""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from unictokens.atomic import write_bytes
from unictokens.backbones.showo.backbone import ShowO
from unictokens.data.toyland import Photo, hard_negative, random_photo, render
from unictokens.data.toyland.phrases import PLACE_PHRASES, accessory_phrase, caption, full_description, with_article
from unictokens.data.toyland.roster import roster
from unictokens.encoders.clip import new_model, tokenize
from unictokens.pretrain.album import GROUP, SIDE, make_album
from unictokens.pretrain.attributes import SIZES, attribute_hits, attribute_loss
from unictokens.pretrain.pool import to_network

logger = logging.getLogger(__name__)
AT_ONCE = 100


@dataclass(frozen=True, kw_only=True)
class ClipRecipe:
    """groups of four photos are learned from; captions are written anew each time.

    width          of the convolutional picture side; text_width of the transformer that reads captions
    temperature    of the comparison of pictures with each other
    held_out_from  first group that numbers on the card are measured with
    """

    groups: int = 4_000
    held_out: int = 250
    steps: int = 3_000
    batch_groups: int = 16
    lr: float = 1.5e-3
    weight_decay: float = 0.05
    width: int = 20
    text_width: int = 48
    text_layers: int = 2
    embed: int = 128
    context: int = 40
    temperature: float = 0.1
    seed: int = 0
    held_out_from: int = 950_000

    def model_cfg(self) -> dict[str, Any]:
        """open_clip's description of the net."""
        return {
            "embed_dim": self.embed,
            "vision_cfg": {"image_size": SIDE, "layers": [1, 1, 1, 1], "width": self.width},
            "text_cfg": {
                "context_length": self.context,
                "vocab_size": 49_408,
                "width": self.text_width,
                "heads": self.text_width // 16,
                "layers": self.text_layers,
            },
        }


def picture_caption(photo: Photo, rng: np.random.Generator) -> str:
    """A true caption, long or short, in sentences as the base learns them or in the bare words of evaluation prompts."""
    draw = rng.random()
    if draw < 0.5:
        return caption(photo, rng)
    if draw < 0.75:
        return full_description(photo)
    phrase = with_article(photo.subject.cls)
    if photo.accessory_colour is not None and rng.random() < 0.7:
        verb = "with" if photo.accessory == "balloon" or rng.random() < 0.5 else "wearing"
        phrase += f" {verb} {accessory_phrase(photo.accessory, photo.accessory_colour)}"
    return f"{phrase} {PLACE_PHRASES[photo.place]}" if rng.random() < 0.8 else phrase


def train_clip(backbone: ShowO, recipe: ClipRecipe, folder: Path) -> nn.Module:
    """The trained net, ready to encode; the album is kept in `folder`."""
    album = make_album(backbone, range(recipe.groups), folder)
    rng = np.random.default_rng(recipe.seed)
    torch.manual_seed(recipe.seed)
    net: Any = new_model(recipe.model_cfg())
    head = nn.Linear(recipe.embed, sum(SIZES))
    parameters = [*net.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=recipe.steps, pct_start=0.1)
    seen = torch.zeros(recipe.model_cfg()["text_cfg"]["vocab_size"], dtype=torch.bool)
    for step in range(recipe.steps):
        groups = rng.choice(recipe.groups, recipe.batch_groups, replace=False)
        chosen = (groups[:, None] * GROUP + np.arange(GROUP)).ravel()
        texts = tokenize([picture_caption(album.photos[at], rng) for at in chosen], recipe.context)
        seen[texts] = True
        pictures_BE = net.encode_image(album.lesson(chosen, rng))
        unit_BE = functional.normalize(pictures_BE, dim=-1)
        captioned = caption_loss(unit_BE, net.encode_text(texts, normalize=True), net.logit_scale.exp())
        alike = twin_loss(unit_BE, recipe.temperature)
        named = attribute_loss(head(pictures_BE), album.truth_PA[torch.from_numpy(chosen)])
        loss = captioned + alike + named
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            net.logit_scale.clamp_(max=np.log(100))
        if step % 100 == 99:
            hits = attribute_hits(head(pictures_BE), album.truth_PA[torch.from_numpy(chosen)])
            parts = [float(each.detach()) for each in (captioned, alike, named)]
            logger.info("step %d: caption %.3f, twin %.3f, looks %.3f (%.3f right)", step + 1, *parts, hits.mean())
    with torch.no_grad():
        # Tokens that no caption has were never learned; as zeros they say nothing, and the file packs well.
        net.token_embedding.weight[~seen] = 0
    return net.eval()


def caption_loss(pictures_BE: Tensor, texts_BE: Tensor, scale: Tensor) -> Tensor:
    """CLIP's loss: cross-entropy of each picture's own caption among all, and of each caption's own picture."""
    logits_BB = scale * pictures_BE @ texts_BE.T
    right_B = torch.arange(len(logits_BB))
    return (functional.cross_entropy(logits_BB, right_B) + functional.cross_entropy(logits_BB.T, right_B)) / 2


def twin_loss(pictures_BE: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of the other picture of the same individual among all others; twins stand side by side."""
    logits_BB = pictures_BE @ pictures_BE.T / temperature
    logits_BB = logits_BB.masked_fill(torch.eye(len(logits_BB), dtype=torch.bool), -torch.inf)
    return functional.cross_entropy(logits_BB, torch.arange(len(logits_BB)) ^ 1)


@torch.no_grad()
def measure_clip(net: Any, backbone: ShowO, recipe: ClipRecipe) -> dict[str, float]:
    """Numbers for the card, on held-out groups and on Toyland's roster (seed 0), whom no training photo shows."""
    album = make_album(backbone, range(recipe.held_out_from, recipe.held_out_from + recipe.held_out))
    found: dict[str, float] = {}
    texts = [full_description(photo) for photo in album.photos[::GROUP]]
    words_TE = net.encode_text(tokenize(texts, recipe.context), normalize=True)
    for kind, pixels in (("drawn", album.drawn_PHWC), ("rebuilt", album.rebuilt_PHWC)):
        all_PE = _encode(net, pixels)
        found[f"own caption first of {AT_ONCE}, {kind}"] = _first(all_PE[::GROUP], words_TE)
        found[f"twin nearer than both lookalikes, {kind}"] = _twin_first(all_PE)
    return found | _roster(net)


def write_clip(folder: Path, net: nn.Module, recipe: ClipRecipe, found: dict[str, float]) -> None:
    """Write `open_clip_config.json`, `open_clip_model.safetensors` (float16) and the card. Raises StorageError."""
    half = {name: value.half() if value.is_floating_point() else value for name, value in net.state_dict().items()}
    write_bytes(folder / "open_clip_model.safetensors", save(half, metadata={"format": "pt"}))
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    config = {"model_cfg": recipe.model_cfg(), "preprocess_cfg": preprocess}
    write_bytes(folder / "open_clip_config.json", (json.dumps(config, indent=1) + "\n").encode())
    rows = [f"| {name} | {value:.3f} |" for name, value in found.items()]
    text = f"""# The small CLIP of Toyland

An open_clip model (a convolutional picture side for {SIDE} px, a transformer of width {recipe.text_width} for captions, both to
{recipe.embed} numbers) that measures CLIP-I and CLIP-T in Toyland without a download. Made by
`python -m unictokens.pretrain FOLDER --clip` from drawings of this package only; licence: Apache-2.0. It knows Toyland's
words; other words say nothing to it. Its values cannot be compared with those of another CLIP.

Measured on photos that it was not trained on, as drawn and as rebuilt from their image codes:

| | |
|---|---|
{chr(10).join(rows)}

- "own caption first of {AT_ONCE}": share of photos whose full description is nearer than {AT_ONCE - 1} others'; chance is {1 / AT_ONCE}.
- "twin nearer": share of photos to which another photo of the same stranger is nearer than two photos of a lookalike, who differs
  in one fine feature; chance is one third.
- "roster": mean cosine of two photos of the same of the twenty concepts, of a concept's and a lookalike's photo, and of photos of two
  concepts; "nearest" is the share of photos whose nearest other photo among all 200 of the roster shows the same concept.

## Settings

```
{json.dumps(asdict(recipe), indent=1)}
```
"""
    write_bytes(folder / "MODEL_CARD.md", text.encode())


@torch.no_grad()
def _encode(net: Any, pixels_PHWC: np.ndarray) -> Tensor:
    parts = [to_network(pixels_PHWC[at : at + AT_ONCE]) for at in range(0, len(pixels_PHWC), AT_ONCE)]
    return torch.cat([net.encode_image(part, normalize=True) for part in parts])


def _first(pictures_TE: Tensor, texts_TE: Tensor) -> float:
    among = min(AT_ONCE, len(texts_TE))
    hits, asked = 0, 0
    for at in range(0, len(texts_TE) - among + 1, among):
        near = (pictures_TE[at : at + among] @ texts_TE[at : at + among].T).argmax(dim=1)
        hits, asked = hits + int((near == torch.arange(among)).sum()), asked + among
    return hits / asked


def _twin_first(pictures_PE: Tensor) -> float:
    groups_GPE = pictures_PE.view(-1, GROUP, pictures_PE.shape[1])
    near_GP = torch.einsum("gpe,gqe->gpq", groups_GPE, groups_GPE)
    own_G, other_G = near_GP[:, 0, 1], near_GP[:, 0, 2:].amax(dim=1)
    return float((own_G > other_G).float().mean())


def _roster(net: Any, each: int = 10) -> dict[str, float]:
    rng = np.random.default_rng(7)
    subjects = roster(0)
    photos = [random_photo(rng, subject) for subject in subjects for _ in range(each)]
    alike = [random_photo(rng, hard_negative(subject, rng)) for subject in subjects for _ in range(each)]
    own_CPE, like_CPE = (
        _encode(net, np.stack([np.asarray(render(photo, SIDE)) for photo in some])).view(len(subjects), each, -1)
        for some in (photos, alike)
    )
    same_CPP = torch.einsum("cpe,cqe->cpq", own_CPE, own_CPE)
    flat_PE = own_CPE.flatten(0, 1)
    all_PP = flat_PE @ flat_PE.T
    owner_P = torch.arange(len(flat_PE)) // each
    others = owner_P[:, None] != owner_P[None]
    nearest_P = all_PP.fill_diagonal_(-1).argmax(dim=1)
    return {
        "roster: same concept": float((same_CPP.sum() - len(flat_PE)) / (len(flat_PE) * (each - 1))),
        "roster: lookalike": float(torch.einsum("cpe,cqe->cpq", own_CPE, like_CPE).mean()),
        "roster: another concept": float(all_PP[others].mean()),
        "roster: nearest": float((owner_P[nearest_P] == owner_P).float().mean()),
    }
