"""The template of the soak: that of the differential test, and much of what each client needs."""
import hashlib
import os

import template

COPIES = 40  # large files to copy up, each once a round
COPY_SIZE = 1_600_003


def copy_content():
    """What each of them holds."""
    return hashlib.shake_128(b'copy').digest(COPY_SIZE)


def build(base):
    template.build(base)
    for top in template.TOPS:
        # One content: one object, and many files.
        for number in range(COPIES):
            template.put(base, f'{top}/copies/{number}', copy_content())
        for number in range(300):
            template.put(base, f'{top}/many/entry-{number}', b'entry %d\n' % (number // 3))
        for number in range(12):
            template.put(base, f'{top}/folders/{number}/leaf', b'leaf of %d\n' % number)
            template.put(base, f'{top}/folders/{number}/other', b'other')
            template.put(base, f'{top}/folders/{number}/deeper/leaf', b'deeper leaf of %d\n' % number)
        for path in ('copies', 'many', 'folders'):
            os.utime(f'{base}/{top}/{path}', ns=(10**18, 10**18))
