"""Dot products of four vectors with many, for compiled loops that need products one user at a time."""

from __future__ import annotations

import numpy as np

from recsys.storage.compilation import compiled


@compiled(fastmath={"reassoc", "contract"})
def multiply_four(first, second, third, fourth, others, products):  # type: ignore[no-untyped-def]
    """Write the (4, n_others) dot products of four vectors with the others, of which there are at least four, or none.

    Sixteen sums at a time fit in a processor's registers, so that each number is loaded once for four products.
    """
    for first_of_four in range(0, len(others), 4):
        # The last four overlap with those before them where the number is no multiple of four.
        place = min(first_of_four, len(others) - 4)
        a1 = a2 = a3 = a4 = b1 = b2 = b3 = b4 = np.float32(0.0)
        c1 = c2 = c3 = c4 = d1 = d2 = d3 = d4 = np.float32(0.0)
        for cell in range(len(first)):
            a, b, c, d = first[cell], second[cell], third[cell], fourth[cell]
            one, two = others[place, cell], others[place + 1, cell]
            three, four = others[place + 2, cell], others[place + 3, cell]
            a1, a2, a3, a4 = a1 + a * one, a2 + a * two, a3 + a * three, a4 + a * four
            b1, b2, b3, b4 = b1 + b * one, b2 + b * two, b3 + b * three, b4 + b * four
            c1, c2, c3, c4 = c1 + c * one, c2 + c * two, c3 + c * three, c4 + c * four
            d1, d2, d3, d4 = d1 + d * one, d2 + d * two, d3 + d * three, d4 + d * four
        products[0, place], products[0, place + 1], products[0, place + 2], products[0, place + 3] = a1, a2, a3, a4
        products[1, place], products[1, place + 1], products[1, place + 2], products[1, place + 3] = b1, b2, b3, b4
        products[2, place], products[2, place + 1], products[2, place + 2], products[2, place + 3] = c1, c2, c3, c4
        products[3, place], products[3, place + 1], products[3, place + 2], products[3, place + 3] = d1, d2, d3, d4
