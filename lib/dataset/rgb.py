"""From every kind of picture to 8 bits of red, green and blue.

* Grey, palettes, CMYK, YCbCr, HSV and premultiplied colours: Pillow's ``convert("RGB")``; CMYK, which JPEGs hold inverted, is
  (255 − C)(255 − K) / 255, L*a*b* (D50) becomes sRGB. Colour profiles are not applied.
* More than 8 bits per sample, unsigned integers: the 8 most significant bits, v // 256 of 16 bits and v // 16 of 12. A PPM with
  a maximum such as 1023 is scaled to 65535 first. OpenCV does the same, except that it rounds v / 257 for 16-bit colour TIFFs.
* Integers of 32 bits or with a sign, and floating point: refused, since no file tells which value is white.
* Transparent pixels: their stored colour, or white or black behind them, see ``composite``.
* Of several frames or pages the first.
"""
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from PIL import Image, ImageCms

from lib.utils.exif import ORIENTATION
from lib.utils.image_header import DAMAGED
from lib.utils.options import Choice

GROUNDS = {"white": 255, "black": 0}
ALPHAS = ("drop", *GROUNDS)                # DATASET.ALPHA
Alpha = Annotated[str, Choice(*ALPHAS)]
PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
WITH_OPACITY = ("LA", "PA", "RGBA")
BITS, PHOTOMETRIC, PLANES, SAMPLE_FORMAT = 258, 262, 284, 339   # tags of TIFF
ZERO_IS_WHITE, YCBCR, APART, SIGNED = 0, 6, 2, 2                # values of the last three
PNG_BITS = 24                              # where a PNG says its bits per sample
NO_TABLE = 0x0100                          # cmsFLAGS_NOOPTIMIZE: by its table Little CMS is up to 30 levels off
BACK = {   # by TIFF's orientation: what undoes the turn that Pillow makes on loading
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
}
GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"          # between two words of a PPM's header; a comment ends with its line
PPM_HEADER = re.compile(rb"P([2356])" + (GAP + rb"(\d{1,10})") * 3 + rb"\s")

# what is said of images, behind their number
DEEP = "have more than 8 bits per sample, of which the highest 8 are used"
SEVERAL = "have several frames or pages, of which the first is used"
TRANSPARENT = {
    "drop": "have transparent pixels, which get the colour stored in them (DATASET.ALPHA drop; white or black hides it)",
    "white": "have transparent pixels, which get a white background (DATASET.ALPHA white)",
    "black": "have transparent pixels, which get a black background (DATASET.ALPHA black)",
}


@dataclass
class Picture:
    """A file that Pillow has opened, as it is stored, whatever its orientation.

    Attributes:
        samples: what has more than 8 bits, brought to 16, (H, W) or (H, W, 3); None for the others.
        remarks: what was done to it that its owner may want to know.
    """

    image: Image.Image
    data: bytes
    remarks: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        opened = self.image
        self.format = opened.format
        names = (ORIENTATION, BITS, PHOTOMETRIC, PLANES, SAMPLE_FORMAT)
        tags = getattr(opened, "tag_v2", {}) if self.format == "TIFF" else {}
        self.tags: dict[int, Any] = {name: tags.get(name) for name in names} if self.format == "TIFF" else {}
        self.samples = read_ppm(self.data) if self.format == "PPM" else None
        if self.samples is None:
            self.load()
            self.samples = self.deep_grey()
        if self.samples is not None or self.bits() > 8:
            self.remarks.add(DEEP)

    def load(self) -> None:
        if SIGNED in np.atleast_1d(self.tags.get(SAMPLE_FORMAT) or 0):
            raise ValueError("its samples are signed, so that their range is unknown; save it with 8 or 16 unsigned bits")
        if self.is_misread():
            raise ValueError("Pillow does not read uncompressed TIFFs of this kind correctly; save it compressed")
        self.image.info.pop("xmp", None)   # from which Pillow would take an orientation if the TIFF has none
        self.image.load()
        orientation = self.tags.get(ORIENTATION)
        if orientation in BACK:
            self.image = self.image.transpose(BACK[orientation])
        if self.image.mode in PREMULTIPLIED:
            self.image = self.image.convert(PREMULTIPLIED[self.image.mode])

    def is_misread(self) -> bool:
        """Whether Pillow decodes it incorrectly: uncompressed TIFFs with 16 bits in planes, and before version 13 with YCbCr."""
        if not self.tags or self.image.tile[0][0] != "raw":  # type: ignore[attr-defined]  # an opened file has it
            return False
        planes = self.tags[PLANES] == APART and self.bits() > 8
        return planes or (self.tags[PHOTOMETRIC] == YCBCR and self.image.mode == "RGB")

    def bits(self) -> int:
        """Bits per sample, for formats that may have more than 8."""
        if self.format == "PNG":
            return self.data[PNG_BITS]
        return max(np.atleast_1d(self.tags.get(BITS) or 8))

    def deep_grey(self) -> np.ndarray | None:
        mode = self.image.mode
        if mode == "F" or (mode == "I" and self.format not in ("PNG", "PPM")):   # there Pillow has 16 bits in it
            kind = "floating point numbers" if mode == "F" else "integers of 32 bits"
            raise ValueError(f"its samples are {kind}, whose range is unknown; save it with 8 or 16 bits")
        if mode[0] != "I":
            return None
        samples = np.asarray(self.image).astype(np.uint16) << (16 - self.bits() if self.format == "TIFF" else 0)
        return ~samples if self.tags.get(PHOTOMETRIC) == ZERO_IS_WHITE else samples

    def window(self, left: int, top: int, right: int, bottom: int, alpha: str) -> np.ndarray:
        """uint8 (h, w, 3). Whether an image has transparent pixels does not depend on the window.

        Args:
            alpha: one of ``ALPHAS``.
        """
        if self.samples is not None:
            part = (self.samples[top:bottom, left:right] >> 8).astype(np.uint8)
            colours = part if part.ndim == 3 else np.repeat(part[..., None], 3, axis=2)
        else:
            colours = as_rgb(self.image.crop((left, top, right, bottom)))
        opacity = self.opacity()
        if opacity is None or opacity.min() == 255:
            return colours
        self.remarks.add(TRANSPARENT[alpha])
        return composite(colours, opacity[top:bottom, left:right], GROUNDS[alpha]) if alpha in GROUNDS else colours

    def opacity(self) -> np.ndarray | None:
        """uint8 (H, W); None for a picture without transparency."""
        if self.image.mode in WITH_OPACITY:
            return np.asarray(self.image.getchannel("A"))
        key = self.image.info.get("transparency")
        if key is None:
            return None
        if isinstance(key, bytes):   # of each colour of the palette
            table = np.full(256, 255, dtype=np.uint8)
            table[:len(key)] = np.frombuffer(key, dtype=np.uint8)[:256]
            return table[np.asarray(self.image)]
        return np.where(self.has_colour(key), 0, 255).astype(np.uint8)

    def has_colour(self, key: int | tuple[int, int, int]) -> np.ndarray:
        """A mask of the pixels that have the transparent colour, bool (H, W)."""
        bits = self.bits()
        if self.image.mode == "RGB":   # of 16 bits only the upper half is there to be compared
            return (np.asarray(self.image) == (np.array(key) >> (bits - 8))).all(axis=2)
        if self.samples is not None:
            return self.samples == key
        if self.image.mode == "P":
            return np.asarray(self.image) == key
        grey, own = np.asarray(self.image.convert("L")), np.asarray(key)
        return grey == (255 * (own > 0) if bits == 1 else own * (255 // (2**bits - 1)))   # Pillow has made 8 bits of 1, 2 or 4

    def look_behind(self) -> None:
        """Notes whether there is more than one frame; what is damaged behind the first one does not matter. Comes last, since
        it moves on in the file."""
        with suppress(*DAMAGED):
            if getattr(self.image, "is_animated", False) and self.format != "MPO":   # previews for a camera's display
                self.remarks.add(SEVERAL)


def as_rgb(image: Image.Image) -> np.ndarray:
    image.info.pop("transparency", None)   # is dealt with apart; Pillow would warn of it
    if image.mode == "LAB":
        cms: Any = ImageCms   # whose declarations want a Flags, which earlier versions of Pillow do not have
        profiles = (cms.createProfile(name) for name in ("LAB", "sRGB"))
        image = cms.applyTransform(image, cms.buildTransform(*profiles, "LAB", "RGB", flags=NO_TABLE))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def composite(colours: np.ndarray, opacity: np.ndarray, ground: int) -> np.ndarray:
    """c · a + ground · (1 − a) with a = opacity / 255, rounded to the nearest, which is never a tie."""
    opacity = opacity[..., None].astype(np.uint16)
    return ((colours * opacity + ground * (255 - opacity) + 127) // 255).astype(np.uint8)


def read_ppm(data: bytes) -> np.ndarray | None:
    """Samples of a PGM or PPM file with a maximum above 255, brought to 65535, uint16 (H, W) or (H, W, 3); None for others.

    Pillow rounds colours to 8 bits, and pixel by pixel in Python.
    """
    header = PPM_HEADER.match(data)
    kind, width, height, most = map(int, header.groups()) if header else (0, 0, 0, 0)
    if header is None or most < 256:
        return None
    bands = 3 if kind in (3, 6) else 1
    count = height * width * bands
    if kind > 3:
        samples = np.frombuffer(data, ">u2", count, header.end())
    else:   # in decimal
        words = re.sub(rb"#[^\r\n]*", b" ", data[header.end() - 1:]).split()[:count]
        samples = np.array(words).astype(np.uint16)
    if most < 65535:
        samples = ((65535 * np.minimum(samples, most).astype(np.uint32) + most // 2) // most).astype(np.uint16)
    return samples.reshape((height, width, bands) if bands == 3 else (height, width))
