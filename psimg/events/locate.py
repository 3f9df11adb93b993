"""Where and when the positron of a triplet annihilated."""

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError
from psimg.core.scanner import SPEED_OF_LIGHT_MM_NS
from psimg.events._locating import locate
from psimg.events.values import LifetimeEvents, Pairs, Triplets


def locate_triplets(triplets: Triplets, *, directions: bool = False) -> LifetimeEvents:
    """Find the most likely annihilation point of each triplet and its time difference.

    With hits 1 and 2 of the annihilation photons and 3 of the prompt at r and t,

        r_a = (r1 + r2)/2 + (c/2)(t2 - t1)(r1 - r2)/|r1 - r2|
        t_a = (t1 + t2)/2 - |r1 - r2|/(2c)
        dt  = t_a - (t3 - |r3 - r_a|/c)

    (P. Moskal et al., Phys. Med. Biol. 64 (2019) 055017, section 2, in the notation of PET with
    time of flight.)

    Parameters
    ----------
    triplets : Triplets
        Two annihilation photons in different places, and a prompt.
    directions : bool
        Whether to keep the direction of each LOR, which spectra do not need.

    Returns
    -------
    LifetimeEvents
        One row per triplet, in the same order.

    Raises
    ------
    DataError
        If the annihilation photons of a triplet were detected in the same place.
    """
    n = len(triplets)
    position, dt, direction = np.empty((n, 3)), np.empty(n), np.empty((n if directions else 0, 3))
    n_without = locate(
        triplets.time_ns, triplets.position_mm, SPEED_OF_LIGHT_MM_NS, position, dt, direction
    )
    if n_without:
        raise DataError(
            f"{n_without} triplets have both annihilation photons in one place "
            "and no LOR; drop them first (select.min_pair_distance_mm)"
        )
    return LifetimeEvents(
        position_mm=position,
        dt_ns=dt,
        window=triplets.window,
        direction=direction if directions else None,
        origin=triplets.origin,
    )


def locate_pairs(pairs: Pairs) -> NDArray[np.float64]:
    """Return the (N, 3) most likely annihilation points of pairs, as of `locate_triplets` [mm]."""
    return locate_lines(pairs)[0]


def locate_lines(pairs: Pairs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the (N, 3) points of `locate_pairs` [mm] and the (N, 3) directions of the LORs."""
    first, second = pairs.position_mm[:, 0], pairs.position_mm[:, 1]
    offset = first - second
    length = np.sqrt(np.einsum("ij,ij->i", offset, offset))
    along = 0.5 * SPEED_OF_LIGHT_MM_NS * (pairs.time_ns[:, 1] - pairs.time_ns[:, 0]) / length
    point = 0.5 * (first + second) + along[:, None] * offset
    return np.asarray(point), np.asarray(offset / length[:, None])
