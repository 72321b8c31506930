"""What the echo guard does, with numpy's own transform and in double precision. Frames come on time: what is aligned is tested apart."""

import numpy as np
import numpy.typing as npt

PARTITIONS = 14
Samples = npt.NDArray[np.float64]


class Guard:
    def __init__(self, rate_hz: int) -> None:
        self.samples, self.n = rate_hz // 50, 512 * rate_hz // 8_000
        shape = (PARTITIONS, self.n // 2 + 1)
        self.spectra, self.front, self.back = (np.zeros(shape, complex) for _ in range(3))  # newest partition first
        self.power = np.zeros(self.n // 2 + 1)
        self.sent = np.zeros(self.n)
        self.turn = self.learnt = 0
        self.front_power = self.back_power = self.mic_power = 0.0
        self.leak, self.echo_powers = 1.0, [0.0, 0.0, 0.0]

    def take(self, sent: Samples, mic: Samples) -> tuple[Samples, bool]:
        """20 ms of what went out, 20 ms before, and of what came back, -1 to 1: what is left, and is it echo alone?"""
        n, samples = self.n, self.samples
        self.sent = np.concatenate((self.sent[samples:], sent))
        self.spectra = np.concatenate((np.fft.rfft(self.sent)[None], self.spectra[:-1]))
        now = (np.abs(self.spectra) ** 2).sum(axis=0)
        self.power = np.maximum(now, 0.9 * self.power)
        estimate = np.fft.irfft((self.front * self.spectra).sum(axis=0), n)[-samples:]
        left = mic - estimate
        behind = mic - np.fft.irfft((self.back * self.spectra).sum(axis=0), n)[-samples:]
        self.learnt += (sent**2).mean() > 1e-5
        if now.sum() * 2 / (PARTITIONS * n * n) > 10**-5.5:
            self._learn(behind, now)
            self._choose((mic**2).sum(), (left**2).sum(), (behind**2).sum())
        return self._judge(mic, left, (estimate**2).sum())

    def _learn(self, behind: Samples, now: Samples) -> None:
        error = np.fft.rfft(np.concatenate((np.zeros(self.n - self.samples), behind)))
        step = error * 0.5 / (self.power + 0.01 * now.mean() + 1e-6)
        self.back = self.back + np.conj(self.spectra) * step
        for partition in (self.turn % PARTITIONS, (self.turn + 1) % PARTITIONS):
            taps = np.fft.irfft(self.back[partition], self.n)
            taps[self.samples :] = 0
            self.back[partition] = np.fft.rfft(taps)
        self.turn = (self.turn + 2) % PARTITIONS

    def _choose(self, mic: float, front: float, back: float) -> None:
        self.front_power = 0.8 * self.front_power + 0.2 * front
        self.back_power = 0.8 * self.back_power + 0.2 * back
        self.mic_power = 0.8 * self.mic_power + 0.2 * mic
        if self.back_power < 0.85 * self.front_power and self.back_power < 0.7 * self.mic_power:
            self.front, self.front_power = self.back.copy(), self.back_power
        elif self.back_power > 2 * self.front_power or self.back_power > 2 * self.mic_power:
            self.back, self.back_power = self.front.copy(), self.front_power

    def _judge(self, mic: Samples, left: Samples, heard: float) -> tuple[Samples, bool]:
        if (left**2).sum() > (mic**2).sum():
            left = mic
        power = (left**2).sum()
        self.echo_powers = [heard, *self.echo_powers[:2]]
        loudest = max(self.echo_powers)
        if heard > 1e-8 * self.samples:
            ratio = power / loudest
            rises = 0.01 * (min(ratio, 4 * self.leak) - self.leak)
            self.leak += 0.2 * (ratio - self.leak) if ratio < self.leak else rises
        early = 4 * max(0, 1 - self.learnt / 400)
        return left, power < max(10 * self.leak, 1 + early) * loudest or self.learnt < 75
