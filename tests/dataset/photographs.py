"""JPEGs of scikit-learn's two sample photographs."""
import io
from functools import cache

from PIL import Image
from sklearn.datasets import load_sample_images


@cache
def photographs() -> list[Image.Image]:
    """A temple before trees, full of detail, and a flower before a blurred ground; 640 × 427."""
    return [Image.fromarray(pixels) for pixels in load_sample_images().images]


def encode(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photograph(number: int, size: tuple[int, int] = (500, 375), **options: object) -> bytes:
    """A JPEG of width × height; 4:2:0 at quality 90 unless told."""
    return encode(photographs()[number % 2].resize(size, Image.Resampling.BICUBIC), **{"quality": 90, **options})
