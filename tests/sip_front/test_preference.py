import itertools
import random
from collections import Counter
from typing import NamedTuple

import pytest

from sip_front.preference import in_order

DRAWS = 20_000


class Server(NamedTuple):
    name: str
    priority: int
    weight: int


def orders(*servers: Server) -> Counter[str]:
    chance = random.Random(7)
    return Counter("".join(server.name for server in in_order(servers, chance)) for _ in range(DRAWS))


def test_each_is_the_first_one_as_often_as_its_weight_says_and_so_is_the_rest_after_it():
    weights = {"a": 60, "b": 30, "c": 10}
    found = orders(*(Server(name, 5, weight) for name, weight in weights.items()))
    for order in itertools.permutations(weights):
        first, second = weights[order[0]] / 100, weights[order[1]] / (100 - weights[order[0]])
        deviation = (first * second * (1 - first * second) / DRAWS) ** 0.5
        assert found["".join(order)] / DRAWS == pytest.approx(first * second, abs=4 * deviation), order


def test_a_lower_priority_comes_first_whatever_the_weights():
    found = orders(Server("z", 20, 1_000), Server("a", 10, 1), Server("b", 10, 1))
    assert set(found) == {"abz", "baz"} and found["abz"] / DRAWS == pytest.approx(0.5, abs=0.02)


def test_weight_zero_is_for_when_nobody_else_is_left():
    assert set(orders(Server("a", 1, 0), Server("b", 1, 9))) == {"ba"}
