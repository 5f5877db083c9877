"""Makes a failing sequence short."""


def shrink(sequence, fails, say=lambda _text: None):
    """Leaves out halves, quarters, … of the operations, then of what each actor does on its own, as long as it still fails."""
    sequence = dict(sequence)
    sequence['operations'] = _shorten(sequence['operations'], lambda operations: fails({**sequence, 'operations': operations}), say)
    for actor, own in enumerate(sequence['own']):
        def with_own(operations, actor=actor, lists=sequence['own']):
            return {**sequence, 'own': [*lists[:actor], operations, *lists[actor + 1:]]}
        sequence['own'] = with_own(_shorten(own, lambda operations, build=with_own: fails(build(operations)), say))['own']
    return sequence


def _shorten(operations, fails, say):
    if not operations or fails([]):
        return []
    size = max(1, len(operations) // 2)
    while True:
        at = 0
        while at < len(operations):
            shorter = operations[:at] + operations[at + size:]
            if fails(shorter):
                operations = shorter
            else:
                at += size
        say(f'  {len(operations)} operations left')
        if size == 1:
            return operations
        size = max(1, min(size // 2, len(operations) // 2))
