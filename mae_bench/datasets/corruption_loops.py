"""The costly loops of ImageNet-C's corruptions, compiled: the same operations in the same order.

Every sum is in the order of the library that ``imagecorruptions`` calls, in its precision, so that
results are equal to the bit.
"""

import math

import numpy as np
from numba import njit


@njit
def add_zoomed(total: np.ndarray, part: np.ndarray, rows: int, columns: int) -> None:
    """Add the linear interpolation of an image, in double precision, as scipy.ndimage.zoom.

    Args:
        total: (H, W, C); its precision is what each value is rounded to before.
        part: (h, w, C) float.
        rows, columns: what it is interpolated to; what lies beyond ``total`` is left out.
    """
    height, width, channels = part.shape
    step_y, step_x = (height - 1) / (rows - 1), (width - 1) / (columns - 1)
    at_x = np.arange(min(columns, total.shape[1])) * step_x
    at_x = at_x[at_x <= width - 1]  # beyond by a rounding error: outside, where SciPy has zero
    count = len(at_x) * channels
    left = np.empty(count, np.int64)
    right, to_left, to_right = left.copy(), np.empty(count), np.empty(count)
    for i in range(count):
        at = at_x[i // channels]
        first = int(at)
        left[i] = first * channels + i % channels
        right[i] = min(first + 1, width - 1) * channels + i % channels
        to_right[i] = at - first
        to_left[i] = 1 - to_right[i]
    # The lines above and below at the pixels to the left and to the right of each column, so that
    # the sums run over whole lines, which a processor does several at a time.
    upper, lower, which = np.empty((2, count)), np.empty((2, count)), -2
    for y in range(min(rows, total.shape[0])):
        at_y = y * step_y
        if at_y > height - 1:
            continue
        y0 = int(at_y)
        down = at_y - y0
        up = 1 - down
        if y0 != which:
            if y0 == which + 1:
                upper, lower = lower, upper
            else:
                _spread(upper, part[y0], left, right)
            _spread(lower, part[min(y0 + 1, height - 1)], left, right)
            which = y0
        line = total[y].reshape(-1)
        (left0, right0), (left1, right1) = upper, lower
        for i in range(count):
            value = left0[i] * up * to_left[i]
            value += right0[i] * up * to_right[i]
            value += left1[i] * down * to_left[i]
            value += right1[i] * down * to_right[i]
            line[i] += total.dtype.type(value)


@njit
def _spread(found: np.ndarray, line: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    values = line.copy().reshape(-1)
    for i in range(len(left)):
        found[0, i] = values[left[i]]
        found[1, i] = values[right[i]]


@njit
def shuffle_pixels(image: np.ndarray, reach: int, rounds: int, seed: int) -> None:
    """Replace pixels by near ones, in place, with the random numbers of the package's loop.

    Its swap writes the first pixel before it reads it: what was there is lost, as in ImageNet-C.
    """
    np.random.seed(seed)
    for _ in range(rounds):
        for y in range(image.shape[0] - reach, reach, -1):
            for x in range(image.shape[1] - reach, reach, -1):
                dx = np.random.randint(-reach, reach)
                dy = np.random.randint(-reach, reach)
                for channel in range(3):
                    image[y, x, channel] = image[y + dy, x + dx, channel]


@njit
def displaced(image: np.ndarray, down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Linear interpolation of an image at displaced pixels, as scipy.ndimage.map_coordinates.

    Args:
        image: (H, W, 3) float32, reflected about its edges.
        down, right: (H, W) float32, pixels.
    """
    height, width = image.shape[:2]
    moved = np.empty_like(image)
    for y in range(height):
        for x in range(width):
            at_y = _reflected(y + np.float64(down[y, x]), height)
            at_x = _reflected(x + np.float64(right[y, x]), width)
            top, left = math.floor(at_y), math.floor(at_x)
            dy, dx = at_y - top, at_x - left
            y0, y1 = max(top, 0), min(top + 1, height - 1)
            x0, x1 = max(left, 0), min(left + 1, width - 1)
            for channel in range(3):
                value = np.float64(image[y0, x0, channel]) * (1 - dy) * (1 - dx)
                value += np.float64(image[y0, x1, channel]) * (1 - dy) * dx
                value += np.float64(image[y1, x0, channel]) * dy * (1 - dx)
                value += np.float64(image[y1, x1, channel]) * dy * dx
                moved[y, x, channel] = np.float32(value)
    return moved


@njit
def _reflected(at: float, length: int) -> float:
    if at < 0:
        return -at - 1
    return 2 * length - at - 1 if at >= length else at


@njit
def shift_hsv(image: np.ndarray, scale: float, offset: float, value: float) -> np.ndarray:
    """Change saturation and value of an image, with the operations of scikit-image's HSV.

    Args:
        image: (H, W, 3) uint8 RGB.
        scale, offset: of the saturation.
        value: added to the value.
    """
    changed = np.empty_like(image)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            red, green, blue = (
                image[y, x, 0] / 255.0,
                image[y, x, 1] / 255.0,
                image[y, x, 2] / 255.0,
            )
            v = max(red, green, blue)
            delta = v - min(red, green, blue)
            hue = s = 0.0
            if delta != 0:
                s = delta / v
                if blue == v:
                    hue = 4.0 + (red - green) / delta
                elif green == v:
                    hue = 2.0 + (blue - red) / delta
                else:
                    hue = (green - blue) / delta
                hue /= 6.0
                if hue < 0:
                    hue += 1.0
            s = min(max(s * scale + offset, 0.0), 1.0)
            v = min(max(v + value, 0.0), 1.0)
            sector = math.floor(hue * 6)
            f = hue * 6 - sector
            p, q, t = v * (1 - s), v * (1 - f * s), v * (1 - (1 - f) * s)
            sector %= 6
            if sector == 0:
                red, green, blue = v, t, p
            elif sector == 1:
                red, green, blue = q, v, p
            elif sector == 2:
                red, green, blue = p, v, t
            elif sector == 3:
                red, green, blue = p, q, v
            elif sector == 4:
                red, green, blue = t, p, v
            else:
                red, green, blue = v, p, q
            changed[y, x, 0] = np.uint8(red * 255)
            changed[y, x, 1] = np.uint8(green * 255)
            changed[y, x, 2] = np.uint8(blue * 255)
    return changed


@njit
def add_shifted(
    rows: int, padded: np.ndarray, weights: np.ndarray, tops: np.ndarray, lefts: np.ndarray
) -> np.ndarray:
    """Weighted sum of windows of an image, in the order of the weights.

    Args:
        rows: of the windows; they are as much narrower than ``padded`` as lower.
        padded: (H, W) float64.
        weights: (N,).
        tops, lefts: (N,), where each window begins.
    """
    columns = padded.shape[1] - 2 * lefts[0]
    total = np.zeros((rows, columns))
    for y in range(rows):
        line = total[y]
        for i in range(len(weights)):
            part = padded[y + tops[i], lefts[i] : lefts[i] + columns]
            weight = weights[i]
            for x in range(columns):
                line[x] += weight * part[x]
    return total


@njit
def symmetric(padded: np.ndarray, weights: np.ndarray, down: int, right: int) -> np.ndarray:
    """Correlation with symmetric weights along an axis, in the order of scipy.ndimage.correlate1d.

    Args:
        padded: (H, W) float64, with what lies beyond the edges.
        weights: (2 R + 1,).
        down, right: from one weight to the next, one of them 0.

    Returns:
        smaller by 2 R steps.
    """
    reach = len(weights) // 2
    rows, columns = padded.shape[0] - 2 * reach * down, padded.shape[1] - 2 * reach * right
    smooth = np.empty((rows, columns))
    for y in range(rows):
        line, top, left = smooth[y], y + reach * down, reach * right
        middle, weight = padded[top, left : left + columns], weights[reach]
        for x in range(columns):
            line[x] = middle[x] * weight
        for j in range(-reach, 0):
            before = padded[top + j * down, left + j * right : left + j * right + columns]
            after = padded[top - j * down, left - j * right : left - j * right + columns]
            weight = weights[reach + j]
            for x in range(columns):
                line[x] += (before[x] + after[x]) * weight
    return smooth
