"""Makes a failing sequence short."""
import time


def shrink(sequence, fails, say, seconds):
    """Leaves out halves, quarters, … of the operations, then of what each actor does on its own, as long as it still fails and there is time."""
    sequence, deadline = dict(sequence), time.monotonic() + seconds
    sequence['operations'] = _shorten(sequence['operations'], lambda operations: fails({**sequence, 'operations': operations}), say, deadline)
    for actor, own in enumerate(sequence['own']):
        def with_own(operations, actor=actor, lists=sequence['own']):
            return {**sequence, 'own': [*lists[:actor], operations, *lists[actor + 1:]]}
        sequence['own'] = with_own(_shorten(own, lambda operations, build=with_own: fails(build(operations)), say, deadline))['own']
    return sequence


def _shorten(operations, fails, say, deadline):
    if not operations or fails([]):
        return []
    size = max(1, len(operations) // 2)
    while True:
        at = 0
        while at < len(operations) and time.monotonic() < deadline:
            shorter = operations[:at] + operations[at + size:]
            if fails(shorter):
                operations = shorter
            else:
                at += size
        say(f'  {len(operations)} operations left')
        if size == 1 or time.monotonic() > deadline:
            return operations
        size = max(1, min(size // 2, len(operations) // 2))
