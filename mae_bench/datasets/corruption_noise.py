"""The noise of ImageNet-C's corruptions, compiled: the random numbers of NumPy, in its order.

Drawing them takes most of the time of noise, so they are drawn 312 at a time. Results are equal to
the bit to those of ``imagecorruptions`` with NumPy's global generator.
"""

import math

import numpy as np
from numba import njit


@njit
def refill(key: np.ndarray, block: np.ndarray) -> None:
    """The next 312 random numbers of NumPy's global generator, several at a time.

    It is the Mersenne Twister of Matsumoto and Nishimura (1998).

    Args:
        key: (624,) uint32, its state with no number left; stepped on.
        block: (312,) float64, from 0 to 1.
    """
    for i in range(227):
        key[i] = key[i + 397] ^ _twisted(key[i], key[i + 1])
    for i in range(227, 623):
        key[i] = key[i - 227] ^ _twisted(key[i], key[i + 1])
    key[623] = key[396] ^ _twisted(key[623], key[0])
    words = key.copy()
    for i in range(624):
        word = words[i]
        word ^= word >> np.uint32(11)
        word ^= np.uint32(word << np.uint32(7)) & np.uint32(0x9D2C5680)
        word ^= np.uint32(word << np.uint32(15)) & np.uint32(0xEFC60000)
        words[i] = word ^ (word >> np.uint32(18))
    for i in range(312):
        high, low = words[2 * i] >> np.uint32(5), words[2 * i + 1] >> np.uint32(6)
        block[i] = (np.float64(high) * 67108864.0 + np.float64(low)) / 9007199254740992.0


@njit
def _twisted(word: np.uint32, following: np.uint32) -> np.uint32:
    mixed = (word & np.uint32(0x80000000)) | (following & np.uint32(0x7FFFFFFF))
    odd = np.uint32(-np.int32(mixed & np.uint32(1)))
    return np.uint32((mixed >> np.uint32(1)) ^ (odd & np.uint32(0x9908B0DF)))


@njit
def add_normal(image: np.ndarray, std: float, key: np.ndarray) -> np.ndarray:
    """Pixels from 0 to 1 with normal noise, by the polar method of Marsaglia as in NumPy.

    Args:
        image: (H, W, 3) uint8.
        std: of the noise.
        key: of :func:`refill`.

    Returns:
        uint8 again.
    """
    pixels = image.copy().reshape(-1)
    block, at = np.empty(312), 312
    for i in range(0, len(pixels), 2):
        while True:
            if at == 312:
                refill(key, block)
                at = 0
            first, second = 2 * block[at] - 1, 2 * block[at + 1] - 1
            at += 2
            square = first * first + second * second
            if 0 < square < 1:
                break
        length = math.sqrt(-2 * math.log(square) / square)
        pixels[i] = _to_byte(pixels[i] / 255.0 + std * (length * second))
        if i + 1 < len(pixels):
            pixels[i + 1] = _to_byte(pixels[i + 1] / 255.0 + std * (length * first))
    return pixels.reshape(image.shape)


@njit
def _to_byte(value: float) -> np.uint8:
    return np.uint8(min(max(value, 0.0), 1.0) * 255)


@njit
def count_photons(image: np.ndarray, rates: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Poisson numbers, pixel after pixel as NumPy draws them.

    Rates from 10 on by the transformed rejection of Hörmann (1993), others by multiplying uniform
    numbers. What depends on the rate alone is computed once.

    Args:
        image: (H, W, 3) uint8.
        rates: (256,), of each value of a pixel.
        key: of :func:`refill`.

    Returns:
        (H, W, 3) int64.
    """
    b = 0.931 + 2.53 * np.sqrt(rates)
    a = -0.059 + 0.02483 * b
    scale = np.log(1.1239 + 1.1328 / (b - 3.4))
    quick = 0.9277 - 3.6224 / (b - 2)
    logs, least = np.log(rates), np.exp(-rates)
    pixels, counts = image.copy().reshape(-1), np.zeros(image.size, np.int64)
    block, at = np.empty(312), 312
    for i in range(len(pixels)):
        v = pixels[i]
        rate, count = rates[v], 0
        product = 1.0
        while rate > 0:
            if at == 312:
                refill(key, block)
                at = 0
            drawn = block[at]
            at += 1
            if rate < 10:
                product *= drawn
                if product <= least[v]:
                    break
                count += 1
                continue
            if at == 312:
                refill(key, block)
                at = 0
            height, place = block[at], drawn - 0.5
            at += 1
            margin = 0.5 - abs(place)
            count = math.floor((2 * a[v] / margin + b[v]) * place + rate + 0.43)
            if margin >= 0.07 and height <= quick[v]:
                break
            if count < 0 or (margin < 0.013 and height > margin):
                continue
            ratio = math.log(height) + scale[v] - math.log(a[v] / (margin * margin) + b[v])
            if ratio <= -rate + count * logs[v] - math.lgamma(count + 1):
                break
        counts[i] = count
    return counts.reshape(image.shape)


@njit
def plasma(side: int, decay: float, key: np.ndarray) -> np.ndarray:
    """Heights by the diamond-square algorithm in the package's order, from 0 to 1.

    Args:
        side: a power of two.
        decay: of the noise from one step to the next.
        key: of :func:`refill`.

    Returns:
        (side, side) float32.
    """
    draws = np.empty((side * side + 311) // 312 * 312)
    for start in range(0, len(draws), 312):
        refill(key, draws[start : start + 312])
    heights = np.empty((side, side), np.float32)
    heights[0, 0] = 0
    step, noise, at = side, 100.0, 0
    while step >= 2:
        half = step // 2
        for y in range(0, side, step):
            for x in range(0, side, step):
                below, right = (y + step) % side, (x + step) % side
                total = heights[y, x] + heights[below, x]
                total += heights[y, right] + heights[below, right]
                heights[y + half, x + half] = _wibbled(total, noise, draws[at])
                at += 1
        for y in range(0, side, step):
            for x in range(0, side, step):
                middle, above = heights[y + half, x + half], heights[(y - half) % side, x + half]
                total = (middle + above) + (heights[y, x] + heights[y, (x + step) % side])
                heights[y, x + half] = _wibbled(total, noise, draws[at])
                at += 1
        for y in range(0, side, step):
            for x in range(0, side, step):
                middle, before = heights[y + half, x + half], heights[y + half, (x - half) % side]
                total = (middle + before) + (heights[y, x] + heights[(y + step) % side, x])
                heights[y + half, x] = _wibbled(total, noise, draws[at])
                at += 1
        step //= 2
        noise /= decay
    heights -= heights.min()
    return heights / heights.max()


@njit
def _wibbled(total: np.float32, noise: float, drawn: float) -> np.float32:
    return np.float32(total / np.float32(4) + noise * (-noise + 2 * noise * drawn))


@njit
def add_fog(image: np.ndarray, heights: np.ndarray, strength: float) -> np.ndarray:
    """Heights (H, W) float32 on pixels from 0 to 1, and all darkened to the former maximum."""
    most = image.max() / 255.0
    foggy = np.empty_like(image)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            fog = np.float32(strength) * heights[y, x]
            for channel in range(3):
                value = (image[y, x, channel] / 255.0 + fog) * most / (most + strength)
                foggy[y, x, channel] = _to_byte(value)
    return foggy
