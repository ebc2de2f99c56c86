"""A folder of pictures as people have them: every oddity that a look at one has to cope with, in some fifty small files."""
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_images

SIDE = 96
LATIN1 = os.fsdecode(b"caf\xe9")   # a name that is no UTF-8
COUNTS = {   # class to readable pictures, of which no two are alike but those that are said below
    "ant": 14, "シジュウカラ": 9, "two words": 7, "=1+1": 6, "<b>&amp;'x'": 5, LATIN1: 4, "-dash": 4, "Привет": 3, "a\nb": 3,
    "linked": 3, "pair": 2, "single": 1}
TRUNCATED, ZERO, STRAY = "ant/cut short.jpg", "ant/empty.png", "stray.jpg"


def picture(number: int) -> Image.Image:
    """Blobs of colour behind a piece of a photograph; those of different numbers show different things."""
    photo = Image.fromarray(load_sample_images().images[number % 2])
    left, top = number * 37 % (photo.width - 80), number * 23 % (photo.height - 60)
    blobs = np.random.default_rng(number).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    size = (SIDE, 73 + number % 5)
    return Image.blend(*(image.resize(size, Image.Resampling.BICUBIC) for image in (
        photo.crop((left, top, left + 80, top + 60)), Image.fromarray(blobs))), 0.5)


def save(image: Image.Image, path: Path, kind: str = "JPEG", **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        image.save(file, kind, **({"quality": 95} if kind == "JPEG" else {}), **options)


def make_messy(folder: Path) -> Path:
    """Fills ``folder/birds``, beside which lies what it links to; returns it."""
    root, numbers = folder / "birds", iter(range(200))
    kinds = (("jpg", "JPEG"), ("JPG", "JPEG"), ("png", "PNG"), ("jfif", "JPEG"), ("webp", "WEBP"), ("gif", "GIF"), ("", "PNG"))
    for name, count in COUNTS.items():
        place = folder / "elsewhere" if name == "linked" else root / name
        for number in range(count):
            suffix, kind = kinds[number % len(kinds)]
            save(picture(next(numbers)), place / f"{LATIN1 if number == 1 else 'img'} {number}{'.' * bool(suffix)}{suffix}", kind)
    os.symlink(folder / "elsewhere", root / "linked")
    os.symlink(root, root / "ant" / "up")
    add_oddities(root, next(numbers))
    (root / "nothing in it").mkdir()
    return root


def add_oddities(root: Path, number: int) -> None:
    """Pictures of odd kinds, copies, and what is no picture."""
    turned = Image.Exif()
    turned[0x0112] = 6
    save(picture(number), root / "ant/turned.jpg", exif=turned.tobytes())
    deep = np.asarray(picture(number + 1).convert("L")).astype(np.uint16) * 257
    save(Image.fromarray(deep), root / "two words/deep.png", "PNG")
    clear = picture(number + 2).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    save(clear, root / "two words/clear.png", "PNG")
    same = (root / "ant/img 0.jpg").read_bytes()
    (root / "two words/same as an ant.jpg").write_bytes(same)   # in two classes
    (root / "ant/copy.jpg").write_bytes(same)                   # in one
    near = Image.open(io.BytesIO((root / "シジュウカラ/img 2.png").read_bytes())).convert("RGB")
    save(ImageEnhance.Brightness(near.resize((61, 47))).enhance(1.1), root / "シジュウカラ/near.jpg")
    data = io.BytesIO()
    picture(number + 3).save(data, "JPEG")
    (root / TRUNCATED).write_bytes(data.getvalue()[:len(data.getvalue()) // 2])
    (root / ZERO).touch()
    save(picture(number + 4), root / STRAY)
    for name in ("Thumbs.db", "notes.txt", "pair/photo.heic"):
        (root / name).write_bytes(b"text")
    os.symlink("nowhere", root / "pair/dead.jpg")


READABLE = sum(COUNTS.values()) + 6   # the odd kinds, the two copies and the near one
