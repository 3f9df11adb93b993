"""Where and when the positron of a triplet annihilated."""

import numpy as np

from psimg.core.errors import DataError
from psimg.core.scanner import SPEED_OF_LIGHT_MM_NS
from psimg.events.values import LifetimeEvents, Triplets


def locate_triplets(triplets: Triplets) -> LifetimeEvents:
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

    Returns
    -------
    LifetimeEvents
        One row per triplet, in the same order.

    Raises
    ------
    DataError
        If the annihilation photons of a triplet were detected in the same place.
    """
    r1, r2, r3 = (triplets.position_mm[:, i] for i in range(3))
    t1, t2, t3 = triplets.time_ns.T
    lor = r1 - r2
    length = np.sqrt(np.einsum("ij,ij->i", lor, lor))
    if not np.all(length > 0):
        raise DataError(
            f"{np.count_nonzero(length == 0)} triplets have both annihilation photons in one place "
            "and no LOR; drop them first (select.min_pair_distance_mm)"
        )
    direction = lor / length[:, None]
    along = 0.5 * SPEED_OF_LIGHT_MM_NS * (t2 - t1)
    position = 0.5 * (r1 + r2) + along[:, None] * direction
    flight = r3 - position
    flight_ns = np.sqrt(np.einsum("ij,ij->i", flight, flight)) / SPEED_OF_LIGHT_MM_NS
    # Differences first: absolute times are long numbers, their differences short ones.
    dt = 0.5 * ((t1 - t3) + (t2 - t3)) - 0.5 * length / SPEED_OF_LIGHT_MM_NS + flight_ns
    return LifetimeEvents(
        position_mm=position, dt_ns=dt, window=triplets.window, direction=direction
    )
