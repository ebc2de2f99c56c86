"""Finds pictures that differ only in encoding, size, brightness or a narrow margin, by their thumbnails.

A picture is compared by the differences between neighbouring pixels of its grey thumbnail, brought to length 1, so that
neither brightness nor contrast matters. Photographs of different things hardly correlate then; small or aligned pictures (digits,
clothes, X-rays) all do. So the bound is one of the set: 0.4 of the distance to the 20th nearest picture that 90 % of its
pictures exceed. Measured: a copy of a photograph (JPEG of quality 30, a quarter of the size, ±20 % brightness, 1 % cut off
each side) is found in 98 of 100 cases or more, with 2 % cut off in 88; of Fashion-MNIST's 60,000 images 0.5 % have a partner, of
the 1,797 digits 0.4 %. Pictures that were mirrored or turned are not found.

Pairs are looked for by the signs of random projections, some of which must be equal: time grows with N log N and the pairs.
"""
import math
from collections.abc import Iterator

import numpy as np
from PIL import Image

SIDE = 16              # pixels of a thumbnail
LOW_CONTRAST = 4.0     # standard deviation of its grey levels below which there is nothing to compare
ALWAYS, NEVER = 0.995, 0.85   # correlations from which on, and below which, pictures are the same whatever the set is
SHARE = 0.4            # of the distance to others
NEIGHBOUR, RARE = 20, 0.1     # which of the others, and the quantile over the pictures
SAMPLE = 500           # pictures that are asked
BITS = 256             # projections
TABLES = 64            # choices of some of their signs; a pair at the bound is equal in a table with a probability of HIT
HIT = 0.12
PARTNERS = 50          # of a picture in a table
BLOCK = 2**14          # rows at once
POPULATION = np.array([bin(number).count("1") for number in range(256)], dtype=np.uint8)


def thumbnail(rows: np.ndarray) -> bytes:
    """The thumbnail of an image uint8 (H, W, 3): SIDE × SIDE grey levels."""
    grey = Image.fromarray(rows).convert("L")
    return grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0).tobytes()


def find_near(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of pictures (P, 2), the lower number first, and their correlations (P,).

    Args:
        thumbnails: uint8 (N, SIDE · SIDE), none of which is meant to be equal to another, in an order that depends on the
            pictures alone, since a sample is taken.
    """
    clear = np.flatnonzero(thumbnails.std(axis=1) >= LOW_CONTRAST)
    if len(clear) < 2:
        return np.empty((0, 2), dtype=np.int64), np.empty(0, dtype=np.float32)
    content = thumbnails[clear]
    bound = choose_bound(content)
    signs = project(content)
    found, values = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)   # pairs as one number each
    for pairs in candidates(signs, bound):
        new = pairs[~np.isin(pairs[:, 0] * len(clear) + pairs[:, 1], found)]
        for block in np.array_split(new, max(1, len(new) // BLOCK)):
            likeness = (features(content[block[:, 0]]) * features(content[block[:, 1]])).sum(axis=1)
            near = likeness >= bound
            found = np.concatenate([found, block[near, 0] * len(clear) + block[near, 1]])
            values = np.concatenate([values, likeness[near]])
    order = np.argsort(found)
    return np.stack([clear[found[order] // len(clear)], clear[found[order] % len(clear)]], axis=1), values[order]


def features(thumbnails: np.ndarray) -> np.ndarray:
    """Feature vectors of length 1, float32 (N, F)."""
    grey = thumbnails.reshape(-1, SIDE, SIDE).astype(np.float32)
    differences = [np.diff(grey, axis=axis).reshape(len(grey), SIDE * (SIDE - 1)) for axis in (1, 2)]
    joined = np.concatenate(differences, axis=1)
    return joined / np.maximum(np.linalg.norm(joined, axis=1, keepdims=True), 1e-6)


def choose_bound(thumbnails: np.ndarray) -> float:
    """The correlation above which two pictures of this set count as nearly equal."""
    asked = np.unique(np.linspace(0, len(thumbnails) - 1, SAMPLE).round().astype(int))
    neighbour = min(NEIGHBOUR, len(thumbnails) // 2)
    own, nearest = features(thumbnails[asked]), np.empty((len(asked), 0), dtype=np.float32)
    for start in range(0, len(thumbnails), BLOCK):
        likeness = own @ features(thumbnails[start:start + BLOCK]).T
        nearest = np.concatenate([nearest, likeness], axis=1)
        kept = min(neighbour + 1, nearest.shape[1])   # itself is the first
        nearest = np.partition(nearest, -kept, axis=1)[:, -kept:]
    distances = np.sqrt(np.maximum(2 - 2 * nearest.min(axis=1), 0))
    bound = 1 - (SHARE * np.quantile(distances, RARE)) ** 2 / 2
    return float(np.clip(bound, NEVER, ALWAYS))


def project(thumbnails: np.ndarray) -> np.ndarray:
    """Signs of random projections, bool (N, BITS); two vectors at an angle differ in angle / pi of them."""
    directions = np.random.default_rng(0).standard_normal((2 * SIDE * (SIDE - 1), BITS)).astype(np.float32)
    return np.concatenate([features(thumbnails[start:start + BLOCK]) @ directions > 0
                           for start in range(0, len(thumbnails), BLOCK)])


def candidates(signs: np.ndarray, bound: float) -> Iterator[np.ndarray]:
    """Pairs (P, 2) that agree in a table's signs, and in about as many of all as those at the bound do."""
    differing = math.acos(bound) / math.pi
    used = max(math.log(HIT) / math.log(1 - differing), math.log2(len(signs)))
    used = min(math.ceil(used), 64)
    most = BITS * differing + 4 * math.sqrt(BITS * differing * (1 - differing))
    packed, random = np.packbits(signs, axis=1), np.random.default_rng(1)
    for _ in range(TABLES):
        chosen = np.sort(random.permutation(BITS)[:used])
        keys = np.zeros((len(signs), 8), dtype=np.uint8)
        keys[:, :(used + 7) // 8] = np.packbits(signs[:, chosen], axis=1)
        words = keys.view(np.uint64).ravel()
        order = np.argsort(words, kind="stable")
        words = words[order]
        for ahead in range(1, min(PARTNERS, len(words) - 1) + 1):
            places = np.flatnonzero(words[ahead:] == words[:-ahead])
            if len(places) == 0:
                break
            pairs = np.sort(np.stack([order[places], order[places + ahead]], axis=1), axis=1)
            distance = POPULATION[packed[pairs[:, 0]] ^ packed[pairs[:, 1]]].sum(axis=1, dtype=np.int64)
            yield pairs[distance <= most]
