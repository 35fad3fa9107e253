"""What one request, one user and one server may take: bounds that the doors enforce before any work is done."""

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of the endpoint; sizes in bytes, times in seconds.

    body, upload     whole request bodies: of JSON and edits, and of photos of a new concept
    body_seconds     in which a body must have arrived
    image_bytes, image_pixels, image_side, image_ratio
                     one picture: encoded size, width x height, shortest side, longest side over shortest
    concurrent       requests of one user at a time in this process
    concepts         different concepts of one prompt
    answer_tokens    longest answer; images per request; steps of a drawing
    photos           fewest and most photos of a new concept; facts and their characters
    deadline         from acceptance to the end of a request
    """

    body: int = 16 * MIB
    upload: int = 64 * MIB
    body_seconds: float = 60.0
    image_bytes: int = 10 * MIB
    image_pixels: int = 16_000_000
    image_side: int = 16
    image_ratio: float = 10.0
    concurrent: int = 16
    concepts: int = 8
    answer_tokens: int = 512
    images: int = 8
    photos: tuple[int, int] = (1, 20)
    deadline: float = 120.0
    own_concepts: int = 1000
