"""Growth is told from noise."""

import numpy as np

from bench.soak.watch import slope

SECONDS = [2.0 * n for n in range(300)]


def test_a_leak_is_growth() -> None:
    noise = np.random.default_rng(1).normal(0, 0.5, 300)
    found = slope(SECONDS, list(100 + 20 * np.array(SECONDS) / 3600 + noise))
    assert found.is_growth and abs(found.per_hour - 20) < 4


def test_noise_is_none() -> None:
    wrong = sum(slope(SECONDS, list(100 + np.random.default_rng(seed).normal(0, 1, 300))).is_growth for seed in range(200))
    assert wrong <= 12  # 2.5 % of 200 are five


def test_wandering_is_none() -> None:
    """Each sample is the last one and a little: twice the interval of samples that know nothing of each other."""
    wrong = 0
    for seed in range(200):
        steps, value, values = np.random.default_rng(seed).normal(0, 1, 300), 0.0, []
        for step in steps:
            value = 0.8 * value + step
            values.append(100 + value)
        wrong += slope(SECONDS, values).is_growth
    assert wrong <= 14


def test_a_warm_up_is_left_out() -> None:
    assert not slope(SECONDS, [100 + min(n, 60) + (n % 3) for n in range(300)]).is_growth


def test_too_few_samples_say_nothing() -> None:
    assert not slope([1.0, 2.0], [1.0, 2.0]).is_growth
