"""L16: network byte order."""

import numpy as np

from media_workers.codecs import l16


def test_samples_are_big_endian() -> None:
    pcm = np.array([0, 1, -1, 258, 32_767, -32_768], np.int16)
    packet = np.zeros(14, np.uint8)
    assert l16.encode(pcm, pcm.size, packet, 2) == 12
    assert packet[2:].tobytes() == pcm.astype(">i2").tobytes()
    again = np.zeros(6, np.int16)
    assert l16.decode(packet, 2, 12, again) == 6
    assert (again == pcm).all()


def test_half_a_sample_is_dropped_and_too_many_are_cut() -> None:
    packet, pcm = np.zeros(9, np.uint8), np.zeros(3, np.int16)
    assert l16.decode(packet, 0, 5, pcm) == 2
    assert l16.decode(packet, 0, 8, pcm) == 3
