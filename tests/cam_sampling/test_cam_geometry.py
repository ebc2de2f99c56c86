"""Moves of drawn shapes: where things go, and what stays as it was."""
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.cam_sampling.geometry import FLIP, ROTATE, TRANSLATE, Moves, bounding_boxes, paste, source_maps, warp

SIZE = (24, 30)


def rectangle(left: int, top: int, right: int, bottom: int, size=SIZE) -> torch.Tensor:
    mask = torch.zeros(1, *size, dtype=torch.bool)
    mask[0, top:bottom + 1, left:right + 1] = True
    return mask


def moves(kind: int, angle: float = 0.0, scale: float = 1.0, right: float = 0.0, down: float = 0.0) -> Moves:
    values = (torch.tensor([value], dtype=torch.double) for value in (angle, scale, right, down))
    return Moves(torch.tensor([kind]), *values)


def picture(size=SIZE) -> torch.Tensor:
    return torch.randint(1, 256, (1, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def move(image: torch.Tensor, mask: torch.Tensor, how: Moves) -> torch.Tensor:
    return paste(image, mask, source_maps(how, bounding_boxes(mask), tuple(image.shape[2:])))


def to_source(maps: torch.Tensor, x: float, y: float) -> list[float]:
    return (maps[0] @ torch.tensor([x, y, 1.0], dtype=torch.double)).tolist()


def test_boxes_are_true_for_shapes_at_every_edge():
    boxes = [(0, 0, 0, 0), (29, 23, 29, 23), (0, 0, 29, 23), (3, 5, 20, 9)]
    masks = torch.cat([rectangle(*box) for box in boxes])
    assert bounding_boxes(masks).tolist() == [list(box) for box in boxes]
    two_specks = rectangle(2, 3, 2, 3) | rectangle(9, 11, 9, 11)
    assert bounding_boxes(two_specks).tolist() == [[2, 3, 9, 11]]


def test_uniform_numbers_become_moves_in_their_ranges():
    numbers = torch.rand(30_000, 5, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    edges = torch.stack([torch.zeros(5), torch.full((5,), 1 - 1e-12, dtype=torch.double)])
    made = Moves.from_uniform(torch.cat([edges, numbers]))
    assert made.kind[:2].tolist() == [ROTATE, FLIP]
    assert torch.bincount(made.kind).tolist() == pytest.approx([10_000] * 3, abs=300)
    assert made.angle[0] == -math.pi / 4
    assert math.pi / 4 - 1e-9 < made.angle.max() < math.pi / 4
    assert (made.scale[0], made.scale[1]) == (0.8, pytest.approx(1.2))


# --- rotation and scale

@given(st.floats(-math.pi / 4, math.pi / 4), st.floats(0.8, 1.2))
@settings(max_examples=30, deadline=None)
def test_the_centre_of_the_box_stays_put(angle, scale):
    maps = source_maps(moves(ROTATE, angle, scale), torch.tensor([[4, 6, 13, 9]]), SIZE)
    assert to_source(maps, 8.5, 7.5) == pytest.approx([8.5, 7.5])
    x, y = to_source(maps, 10.5, 7.5)   # two pixels to the right of it
    assert math.hypot(x - 8.5, y - 7.5) == pytest.approx(2 / scale)
    assert math.atan2(y - 7.5, x - 8.5) == pytest.approx(-angle)


def test_a_quarter_turn_is_torch_rot90():
    image = picture((9, 9)).float()
    maps = source_maps(moves(ROTATE, math.pi / 2), torch.tensor([[0, 0, 8, 8]]), (9, 9))
    turned, inside = warp(image, maps)
    torch.testing.assert_close(turned, image.rot90(-1, (2, 3)), atol=1e-3, rtol=0)
    assert inside.all()


def test_scaling_a_filled_square():
    mask = rectangle(10, 6, 19, 15)   # 10 × 10 pixels
    image = torch.where(mask[:, None], 200, 10).byte().expand(1, 3, *SIZE)
    larger = move(image, mask, moves(ROTATE, scale=1.2))
    assert int((larger[0, 0] > 100).sum()) == 12 * 12
    smaller = move(image, mask, moves(ROTATE, scale=0.8))
    assert int((smaller[0, 0] > 100).sum()) == 8 * 8


# --- translation

@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
@settings(max_examples=40, deadline=None)
def test_the_translated_box_stays_inside_and_keeps_its_pixels(right, down):
    mask = rectangle(4, 6, 13, 9)
    image = picture()
    moved = move(image, mask, moves(TRANSLATE, right=right, down=down))
    left, top = int(right * 21), int(down * 21)   # 30 − 9 and 24 − 3 places
    assert torch.equal(moved[0, :, top:top + 4, left:left + 10], image[0, :, 6:10, 4:14])


@pytest.mark.parametrize(("right", "down", "box"), [(0, 0, (0, 0)), (1 - 1e-9, 1 - 1e-9, (20, 20)), (0.5, 0.25, (10, 5))])
def test_translation_reaches_both_edges_and_no_further(right, down, box):
    maps = source_maps(moves(TRANSLATE, right=right, down=down), torch.tensor([[4, 6, 13, 9]]), SIZE)
    assert to_source(maps, *box) == [4, 6]


def test_a_box_as_large_as_the_image_cannot_be_translated():
    image = picture()
    assert torch.equal(move(image, rectangle(0, 0, 29, 23), moves(TRANSLATE, right=0.99, down=0.99)), image)


# --- flip

def test_flip_of_everything_is_the_mirror_image():
    image = picture()
    assert torch.equal(move(image, rectangle(0, 0, 29, 23), moves(FLIP)), image.flip(3))


# --- pasting

def test_the_moved_image_is_on_the_union_and_the_original_elsewhere():
    image, mask = picture(), rectangle(2, 3, 7, 8)
    union = mask | mask.flip(2)
    result = move(image, mask, moves(FLIP))
    assert torch.equal(result, torch.where(union[:, None], image.flip(3), image))
    assert not torch.equal(result[0, :, 3:9, 2:8], image[0, :, 3:9, 2:8])   # the old object has disappeared


def test_pixels_without_a_source_keep_the_original():
    mask = rectangle(20, 10, 29, 20)
    image = picture()
    result = move(image, mask, moves(TRANSLATE, right=0.0, down=0.0))   # 20 to the left, 10 up
    source = torch.zeros(SIZE, dtype=torch.bool)
    source[:14, :10] = True   # below and to the right, sources would lie outside
    union = mask[0].clone()
    union[0:11, 0:10] = True
    expected = image.clone()
    expected[0, :, :14, :10] = image[0, :, 10:, 20:]
    expected = torch.where(union & source, expected[0], image[0])
    assert torch.equal(result[0], expected)
    assert torch.equal(result[0, :, 10:21, 20:], image[0, :, 10:21, 20:])   # part of the union, and without a source


@pytest.mark.parametrize("kind", [ROTATE, TRANSLATE, FLIP])
def test_one_mask_serves_all_channels(kind):
    """Where the channels are equal before they are equal after, and where one channel is replaced all are."""
    mask = rectangle(4, 6, 13, 14)
    image = picture()
    how = moves(kind, angle=0.6, scale=1.1, right=0.7, down=0.2)
    grey = move(image[:, :1].expand(1, 3, *SIZE), mask, how)
    assert torch.equal(grey[:, 0], grey[:, 1])
    assert torch.equal(move(image, mask, how)[:, 0], grey[:, 0])   # a channel's result does not depend on the others


def test_nothing_changes_far_from_the_foreground():
    mask = rectangle(8, 8, 15, 15)
    image = picture()
    changed = (move(image, mask, moves(ROTATE, angle=0.7, scale=1.2)) != image).any(dim=1)[0]
    assert changed.any()
    reach = math.hypot(4, 4) * 1.2 + 1   # half a diagonal, scaled, and a pixel of interpolation
    y, x = changed.nonzero().double().unbind(1)
    assert ((x - 11.5).square() + (y - 11.5).square()).sqrt().max() < reach


def test_a_batch_is_its_images_one_by_one():
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (9, 3, *SIZE), dtype=torch.uint8, generator=generator)
    masks = torch.cat([rectangle(c, 2 * c, c + 9, 2 * c + 4) for c in range(9)])
    how = Moves.from_uniform(torch.rand(9, 5, dtype=torch.double, generator=generator))
    together = move(images, masks, how)
    for number in range(9):
        one = Moves(*(field[number:number + 1] for field in how))
        assert torch.equal(move(images[number:number + 1], masks[number:number + 1], one), together[number:number + 1])
