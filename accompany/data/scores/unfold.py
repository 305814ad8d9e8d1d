"""Repeat expansion: the played order of a score's measures, with repeats and endings."""

from __future__ import annotations

from collections.abc import Sequence

from accompany.data.scores.lead_sheet import Unreadable
from accompany.data.scores.musicxml import Measure

MOST_MEASURES = 5_000


def play_order(measures: Sequence[Measure]) -> list[tuple[int, int]]:
    """(index of the measure, number of the pass from 1) in the order of playing; da capo and segno are not followed.

    Raises:
        Unreadable: repeats that make the song endless.
    """
    order: list[tuple[int, int]] = []
    start, index, current = 0, 0, 1
    while index < len(measures):
        measure = measures[index]
        if measure.repeat_starts and index != start:
            start, current = index, 1
        if measure.endings and current not in measure.endings:
            index += 1
            # A repeat ends after its last ending.
            if index < len(measures) and not measures[index].endings:
                start, current = index, 1
            continue
        order.append((index, current))
        if len(order) > MOST_MEASURES:
            raise Unreadable(f"more than {MOST_MEASURES} measures")
        times = _times(measures, start, index)
        if measure.repeat_times and current < times:
            index, current = start, current + 1
            continue
        index += 1
        if (measure.repeat_times or measure.endings) and not (index < len(measures) and measures[index].endings):
            start, current = index, 1
    return order


def _times(measures: Sequence[Measure], start: int, index: int) -> int:
    """Number of passes of the repeat that ends at `index`: as stated, or by the numbers of its endings."""
    numbered = [number for measure in measures[start : index + 1] for number in measure.endings]
    following = index + 1
    while following < len(measures) and measures[following].endings:
        numbered += measures[following].endings
        following += 1
    return max([measures[index].repeat_times, *numbered])
