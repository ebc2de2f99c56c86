"""Streams are functions of their keys, and differ where keys differ."""
import random

import numpy as np
import torch

from lib.utils.seed import Stream, batch_seeds, seed_globals, shared_generator, spawn_seeds, uniform


def test_streams_repeat_whatever_was_drawn_before():
    first, second = Stream(5), Stream(5)
    torch.rand(100)
    np.random.rand(100)
    assert torch.equal(torch.rand(9, generator=first.generator), torch.rand(9, generator=second.generator))
    assert first.host.random() == second.host.random()


def test_seeds_differ_between_seeds_ranks_epochs_and_batches():
    seeds = [seed for key in np.ndindex(3, 3, 30) for seed in batch_seeds(*key, 20)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_longer_epoch_begins_like_a_shorter_one():
    assert batch_seeds(1, 2, 3, 10)[:4] == batch_seeds(1, 2, 3, 4)


def test_shared_draws_depend_on_seed_and_epoch_only():
    draws = {key: torch.randperm(50, generator=shared_generator(*key)) for key in ((1, 1), (1, 2), (2, 1))}
    assert torch.equal(draws[1, 1], torch.randperm(50, generator=shared_generator(1, 1)))
    assert not torch.equal(draws[1, 1], draws[1, 2])
    assert not torch.equal(draws[1, 1], draws[2, 1])


def test_globals_are_seeded_all_three():
    def numbers():
        return torch.rand(1).item(), np.random.rand(), random.random()

    seed_globals(3)
    first = numbers()
    seed_globals(3)
    assert numbers() == first
    seed_globals(4)
    assert not set(numbers()) & set(first)


def test_spawned_seeds_are_known_numbers():
    """Written down once: a change here changes every published result."""
    assert spawn_seeds((42, 0, 1), 2) == [int(s) >> 1 for s in np.random.SeedSequence((42, 0, 1)).generate_state(2, np.uint64)]


def test_uniform_numbers_are_those_of_splitmix64():
    """The generator's published first outputs for seed 1234567, of each the top 24 bits."""
    outputs = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert uniform(torch.tensor(1234567), (5,)).tolist() == [(output >> 40) / 2**24 for output in outputs]


def test_uniform_numbers_are_uniform_and_independent_of_their_neighbours():
    """Moments, cells of a histogram, and the correlation of rows, columns and following seeds, within 4.5 deviations."""
    numbers = torch.stack([uniform(torch.tensor(seed), (200, 100)) for seed in (0, 1, 2**63 - 1)]).double()
    assert numbers.min() >= 0
    assert numbers.max() < 1
    count = numbers.numel()
    assert abs(numbers.mean() - 1 / 2) < 4.5 * (1 / 12 / count) ** 0.5
    assert abs(numbers.var() - 1 / 12) < 4.5 * (1 / 180 / count) ** 0.5
    cells = torch.histc(numbers, 16, 0, 1)
    assert ((cells - count / 16) ** 2 / (count / 16)).sum() < 15 + 4.5 * 30**0.5
    for one, other in ((numbers[:, 1:], numbers[:, :-1]), (numbers[:, :, 1:], numbers[:, :, :-1]), (numbers[1:], numbers[:-1])):
        correlation = torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]
        assert abs(correlation) < 4.5 / one.numel() ** 0.5


def test_uniform_numbers_change_with_the_seed_in_memory():
    """As a captured graph needs it: the same tensor, another content."""
    seed = torch.tensor(3)
    first = uniform(seed, (4, 5))
    seed.fill_(4)
    assert torch.equal(uniform(seed, (4, 5)), uniform(torch.tensor(4), (4, 5)))
    assert not torch.equal(uniform(seed, (4, 5)), first)
