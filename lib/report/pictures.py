"""Thumbnails of images, for figures and pages."""
import base64
import io
import logging
from collections.abc import Sequence

from PIL import Image

from lib.data_transform.resize import resize
from lib.dataset import ImageSet
from lib.utils.errors import InputError
from lib.utils.system import cpu_count
from lib.utils.threads import map_ranges

log = logging.getLogger(__name__)

SIDE = 320        # longer side of a thumbnail, in pixels
PIXELS = 64       # images up to this side are stored as PNG, without loss
QUALITY = 85      # of JPEG, for larger images


def thumbnails(images: ImageSet, indices: Sequence[int]) -> dict[int, Image.Image]:
    """Thumbnails of some images, upright and with their aspect ratio. Images that cannot be read are left out, with a warning."""
    indices = list(dict.fromkeys(indices))

    def read(places: range) -> list[Image.Image | InputError]:
        return [thumbnail(images, indices[place]) for place in places]

    found = [copy for copies in map_ranges(read, len(indices), 4, cpu_count()) for copy in copies]
    errors = [copy for copy in found if isinstance(copy, InputError)]
    if errors:
        log.warning("%d of %d images for the report cannot be read: %s", len(errors), len(indices), errors[0])
    return {index: copy for index, copy in zip(indices, found) if not isinstance(copy, InputError)}


def thumbnail(images: ImageSet, index: int) -> Image.Image | InputError:
    try:
        source = images.open(index)
        height, width = source.size
        scale = min(1, SIDE / max(height, width))
        target = max(1, round(height * scale)), max(1, round(width * scale))
        pixels = source.window(0, 0, height, width, target)
    except InputError as error:
        return error
    return Image.fromarray(resize(pixels, target).permute(1, 2, 0).contiguous().numpy())


def is_small(picture: Image.Image) -> bool:
    """Whether the image is small enough to show its pixels as squares."""
    return max(picture.size) <= PIXELS


def data_uri(picture: Image.Image) -> str:
    """The picture as a data URI, which can be embedded in a page."""
    kind, options = ("png", {"optimize": True}) if is_small(picture) else ("jpeg", {"quality": QUALITY})
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return png_uri(buffer.getvalue(), kind)


def png_uri(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
